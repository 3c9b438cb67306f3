import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.audio import decode_audio
from training.augment import AugmentConfig
from training.channel import Channel, low_pass, mix, reverberate
from training.corpora import read_corpus
from training.dataset import SpeechDataset
from training.errors import CorpusError
from training.recipe import load_recipe
from training.sampler import BatchPlan

RATE_HZ = 16_000
lengths = st.integers(1, 12_000)
seeds = st.integers(0, 2**48)
untimed = settings(deadline=None, max_examples=50)


def noise(length: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def decibel(signal_N: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(signal_N, dtype=np.float64))))


def read(path: Path) -> np.ndarray:
    return decode_audio(path).samples_N


def room(seed: int = 1, *, delay: int = 0, t60_s: float = 0.4) -> np.ndarray:
    """An impulse, late by `delay` samples, and a tail that decays by 60 dB in `t60_s`."""
    length = round(t60_s * RATE_HZ)
    tail = 0.3 * np.random.default_rng(seed).standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail[0] = 1.0
    return np.concatenate([np.zeros(delay), tail.clip(-1, 1)]).astype(np.float32)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> AugmentConfig:
    """Two rooms and two noises, and every step switched on."""
    folder = tmp_path_factory.mktemp("heard")
    for name, samples in (
        ("room1", room(1, delay=100)),
        ("room2", room(2)),
        ("noise1", noise(3_000, 3)),
        ("noise2", noise(20_000, 4)),
    ):
        soundfile.write(folder / f"{name}.wav", samples, RATE_HZ, subtype="FLOAT")
    (folder / "rooms.tsv").write_text("path\nroom1.wav\nroom2.wav\n")
    (folder / "noises.tsv").write_text("path\tclass\nnoise1.wav\train\nnoise2.wav\tdog\n")
    return AugmentConfig(
        room_probability=1.0,
        rooms=str(folder / "rooms.tsv"),
        noise_probability=1.0,
        noises=str(folder / "noises.tsv"),
        low_pass_probability=1.0,
        codec_probability=1.0,
    )


STEPS = ("room", "noise", "low_pass", "codec")


def only(heard: AugmentConfig, *steps: str, probability: float = 1.0, **options: Any) -> AugmentConfig:
    """The configuration with some steps and no others."""
    options |= {f"{step}_probability": probability if step in steps else 0.0 for step in STEPS}
    return replace(heard, **options)


@pytest.mark.parametrize("cutoff_hz", [500.0, 3000.0, 7500.0])
def test_low_pass_keeps_what_lies_below_halves_the_cutoff_and_takes_the_rest(cutoff_hz: float) -> None:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    for hz, at_least, at_most in (
        (cutoff_hz - 110, -0.1, 0.1),
        (cutoff_hz, -6.1, -5.9),
        (cutoff_hz + 110, -200.0, -50.0),
    ):
        tone_N = np.sin(2 * np.pi * hz * time_s).astype(np.float32)
        middle = slice(1000, -1000)
        assert at_least <= decibel(low_pass(tone_N, cutoff_hz)[middle]) - decibel(tone_N[middle]) <= at_most


@given(lengths, st.floats(500, 8000))
@untimed
def test_low_pass_is_the_filter_that_scipy_designs(length: int, cutoff_hz: float) -> None:
    samples_N = noise(length)
    out_N = low_pass(samples_N, cutoff_hz)
    if cutoff_hz < 8000:
        kernel_K = scipy.signal.firwin(255, cutoff_hz, fs=RATE_HZ, window=("general_hamming", 0.54), scale=False)
        expected_N = np.convolve(samples_N, kernel_K)[127 : 127 + length]
    else:
        expected_N = samples_N
    assert out_N.dtype == np.float32
    np.testing.assert_allclose(out_N, expected_N, atol=1e-5)


@given(lengths, seeds, st.floats(-20, 60))
@untimed
def test_the_ratio_of_speech_to_noise_is_the_one_asked_for(length: int, seed: int, snr_db: float) -> None:
    speech_N, noise_N = noise(length, seed), 7 * noise(length, seed + 1)
    speech_N[0] = noise_N[-1] = 0.5  # a single sample of either may be next to nothing
    added_N = mix(speech_N, noise_N, snr_db).astype(np.float64) - speech_N
    assert decibel(speech_N) - decibel(added_N) == pytest.approx(snr_db, abs=0.1)


def test_where_there_is_only_silence_nothing_is_added() -> None:
    for speech_N, noise_N in ((noise(100), np.zeros(100, np.float32)), (np.zeros(100, np.float32), noise(100))):
        np.testing.assert_array_equal(mix(speech_N, noise_N, 5.0), speech_N)


@pytest.mark.parametrize("length", [1_000, 10_000, 25_000])
def test_noise_is_cropped_or_begins_again_and_has_the_ratio_that_was_drawn(heard: AugmentConfig, length: int) -> None:
    channel = Channel(only(heard, "noise", noise_snr_db=(12.5, 12.5)))
    recordings = [read(Path(heard.noises).parent / name) for name in ("noise1.wav", "noise2.wav")]
    speech_N, starts = noise(length, 9), set()
    for item in range(10):
        mixed_N, _ = channel(speech_N, (5, item), read)
        added_N = mixed_N.astype(np.float64) - speech_N
        assert decibel(speech_N) - decibel(added_N) == pytest.approx(12.5, abs=0.1)
        around = [np.resize(recording, length + len(recording)) for recording in recordings]
        products = [np.abs(scipy.signal.correlate(loop, added_N, "valid", "fft")) for loop in around]
        number = int(products[1].max() > products[0].max())
        start = int(products[number].argmax())
        expected_N = around[number][start : start + length]
        likeness = np.dot(expected_N, added_N) / np.linalg.norm(expected_N) / np.linalg.norm(added_N)
        assert likeness == pytest.approx(1.0, abs=1e-4)
        starts.add((number, start % len(recordings[number])))
    assert len(starts) == 10 and {number for number, _ in starts} == {0, 1}


@given(lengths, seeds, st.sampled_from([1.0, -0.25, 30.0]), st.integers(0, 300))
@untimed
def test_an_impulse_changes_nothing_however_late_and_loud(length: int, seed: int, level: float, delay: int) -> None:
    impulse_K = np.zeros(delay + 50, np.float32)
    impulse_K[delay] = level
    np.testing.assert_allclose(
        reverberate(noise(length, seed), impulse_K), np.sign(level) * noise(length, seed), atol=1e-6
    )


@given(lengths, st.integers(0, 400), st.floats(0.1, 1.0))
@untimed
def test_a_room_is_a_convolution_from_the_direct_sound_on_at_the_level_before(
    length: int, delay: int, t60_s: float
) -> None:
    samples_N, impulse_K = noise(length), room(delay=delay, t60_s=t60_s)
    out_N = reverberate(samples_N, impulse_K)
    expected_N = scipy.signal.oaconvolve(samples_N, impulse_K[delay:])[:length]
    expected_N *= np.linalg.norm(samples_N) / np.linalg.norm(expected_N)
    assert out_N.dtype == np.float32
    assert decibel(out_N) == pytest.approx(decibel(samples_N), abs=0.01)
    assert np.linalg.norm(out_N - expected_N) < 3e-3 * np.linalg.norm(samples_N)  # the tail is cut off at −60 dB


def test_a_room_delays_nothing(heard: AugmentConfig) -> None:
    speech_N = noise(20_000)
    out_N, _ = Channel(only(heard, "room"))(speech_N, (1, 1), read)
    correlation = scipy.signal.correlate(out_N, speech_N, "full")
    assert correlation.argmax() == len(speech_N) - 1
    assert not np.allclose(out_N, speech_N, atol=1e-2)


def test_a_silent_room_changes_nothing() -> None:
    np.testing.assert_array_equal(reverberate(noise(500), np.zeros(100, np.float32)), noise(500))


def test_direct_sound_weaker_than_an_echo_is_kept() -> None:
    impulse_K = np.zeros(3000, np.float32)
    impulse_K[[500, 1300]] = 0.6, 1.0
    out_N = reverberate(np.eye(1, 4000, 1000, dtype=np.float32)[0], impulse_K)
    assert np.flatnonzero(np.abs(out_N) > 1e-3).tolist() == [1000, 1800]


share = st.sampled_from([0.0, 0.5, 1.0])


@given(
    st.tuples(share, share, share, share),
    st.one_of(st.integers(0, 40), lengths),
    seeds,
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1e-6, 0.3, 3.0]),
)
@untimed
def test_whatever_is_switched_on_the_result_is_finite_as_long_and_the_same_again(
    heard: AugmentConfig,
    shares: tuple[float, float, float, float],
    length: int,
    seed: int,
    item: int,
    level: float,
) -> None:
    options: dict[str, Any] = {f"{step}_probability": share for step, share in zip(STEPS, shares, strict=True)}
    channel = Channel(replace(heard, **options))
    samples_N = np.float32(level) * noise(length, item)
    kept_N = samples_N.copy()
    out_N, unreadable = channel(samples_N, (seed, item), read)
    assert out_N.dtype == np.float32 and out_N.shape == (length,)
    assert np.isfinite(out_N).all()
    assert not unreadable
    np.testing.assert_array_equal(samples_N, kept_N)
    np.testing.assert_array_equal(channel(samples_N, (seed, item), read)[0], out_N)


def test_without_options_nothing_is_done() -> None:
    samples_N = noise(100)
    assert Channel(AugmentConfig())(samples_N, (1, 2), read) == (samples_N, [])


@pytest.mark.parametrize(("step", "variety"), [("room", 2), ("noise", 12), ("low_pass", 12), ("codec", 6)])
def test_every_step_does_something_and_differs_between_utterances_and_passes(
    heard: AugmentConfig, step: str, variety: int
) -> None:
    channel, speech_N = Channel(only(heard, step)), noise(4_000)
    results = [channel(speech_N, (number, item), read)[0] for number in (1, 2) for item in range(6)]
    assert all(np.abs(result_N - speech_N).max() > 1e-3 for result_N in results)
    assert len({result_N.tobytes() for result_N in results}) >= variety


def test_a_probability_is_the_share_of_utterances(heard: AugmentConfig) -> None:
    channel = Channel(only(heard, "low_pass", probability=0.3))
    speech_N = noise(300)
    changed = sum(channel(speech_N, (7, item), read)[0] is not speech_N for item in range(1000))
    assert 250 < changed < 350


def test_steps_are_drawn_independently_of_each_other(heard: AugmentConfig) -> None:
    channel, speech_N = Channel(only(heard, "noise", "low_pass", probability=0.5)), noise(300)
    untouched = sum(channel(speech_N, (7, item), read)[0] is speech_N for item in range(400))
    assert 70 < untouched < 130  # a quarter


def test_switching_one_step_on_leaves_the_draws_of_the_others(heard: AugmentConfig) -> None:
    """Both ways to the same noise: alone, and with a low-pass that takes nothing."""
    alone = Channel(only(heard, "noise"))
    also = Channel(only(heard, "noise", "low_pass", low_pass_hz=(8000.0, 8000.0)))
    speech_N = noise(5_000)
    np.testing.assert_allclose(also(speech_N, (3, 4), read)[0], alone(speech_N, (3, 4), read)[0], atol=1e-5)


def test_manifests_are_read_at_the_start_and_only_where_they_are_needed(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing.tsv")
    Channel(AugmentConfig(noises=missing, rooms=missing))
    for config in (
        AugmentConfig(noises=missing, noise_probability=0.1),
        AugmentConfig(rooms=missing, room_probability=0.1),
    ):
        with pytest.raises(CorpusError, match=r"nothing\.tsv"):
            Channel(config)


@pytest.fixture
def dataset_of(tones_manifest: Path, tmp_path: Path) -> Callable[[AugmentConfig], SpeechDataset]:
    utterances = read_corpus(tones_manifest)
    targets = [[1]] * len(utterances)
    return lambda config: SpeechDataset(
        utterances, targets, gain_db=config.gain_db, channel=Channel(config), cache_dir=tmp_path / "cache"
    )


def test_an_utterance_is_the_same_in_every_batch(
    dataset_of: Callable[[AugmentConfig], SpeechDataset], heard: AugmentConfig
) -> None:
    dataset, other = dataset_of(heard), dataset_of(heard)
    alone = dataset[BatchPlan((((2,), 1.1),), 9)]
    among = other[BatchPlan((((5,), 0.9), ((2,), 1.1), ((0,), 1.0)), 9)]
    length = int(alone.lengths_B[0])
    assert int(among.lengths_B[1]) == length
    assert torch.equal(among.samples_BN[1, :length], alone.samples_BN[0])
    plain = dataset_of(AugmentConfig())[BatchPlan((((2,), 1.1),), 9)]
    assert plain.lengths_B.tolist() == alone.lengths_B.tolist()
    assert not torch.allclose(plain.samples_BN, alone.samples_BN, atol=1e-2)


def test_with_every_option_off_a_batch_is_what_it_was_without_a_channel(
    tones_manifest: Path, dataset_of: Callable[[AugmentConfig], SpeechDataset]
) -> None:
    utterances, plan = read_corpus(tones_manifest), BatchPlan((((1,), 0.9), ((2,), 1.0)), 9)
    before = SpeechDataset(utterances, [[1]] * len(utterances), gain_db=6.0)[plan]
    np.testing.assert_allclose(dataset_of(AugmentConfig())[plan].samples_BN, before.samples_BN, atol=1e-4)  # the cache
    without = SpeechDataset(utterances, [[1]] * len(utterances), gain_db=6.0, channel=Channel(AugmentConfig()))[plan]
    assert torch.equal(without.samples_BN, before.samples_BN)


@pytest.mark.parametrize("content", [None, b"RIFF but nothing else"])
def test_noise_and_rooms_that_cannot_be_read_are_named_and_the_utterance_is_kept(
    dataset_of: Callable[[AugmentConfig], SpeechDataset], tmp_path: Path, content: bytes | None
) -> None:
    for name in ("bad-noise", "bad-room"):
        (tmp_path / f"{name}.tsv").write_text(f"path\n{name}.wav\n")
        if content:
            (tmp_path / f"{name}.wav").write_bytes(content)
    bad = AugmentConfig(
        noise_probability=1.0,
        noises=str(tmp_path / "bad-noise.tsv"),
        room_probability=1.0,
        rooms=str(tmp_path / "bad-room.tsv"),
    )
    plan = BatchPlan((((4,), 1.0),), 1)
    batch = dataset_of(bad)[plan]
    assert [Path(line.split(": ")[0]).name for line in batch.unreadable] == ["bad-room.wav", "bad-noise.wav"]
    assert torch.equal(batch.samples_BN, dataset_of(AugmentConfig())[plan].samples_BN)


def test_a_recipe_sets_all_of_it(tmp_path: Path, heard: AugmentConfig) -> None:
    (tmp_path / "noisy.yaml").write_text(
        f"name: noisy\naugment:\n  room_probability: 0.3\n  rooms: {heard.rooms}\n  noise_probability: 0.4\n"
        f"  noises: {heard.noises}\n  noise_snr_db: [0, 20]\n  low_pass_probability: 0.2\n  low_pass_hz: [3000, 7000]\n"
        "  codec_probability: 1\n  codecs: [opus]\n  codec_kbps: [8, 16]\n"
    )
    augment = load_recipe(tmp_path / "noisy.yaml").augment
    assert (augment.noise_snr_db, augment.codecs, augment.codec_kbps) == ((0, 20), ("opus",), (8, 16))
    Channel(augment)


def test_the_noise_and_rooms_beside_the_checkout_can_be_used(speech_data: Path) -> None:
    manifests = {name: speech_data / name / "manifest.tsv" for name in ("noise", "rooms")}
    for manifest in manifests.values():
        with manifest.open(encoding="utf-8", newline="") as file:
            rows = sum(1 for _ in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        assert len(read_corpus(manifest, transcribed=False)) == rows
    channel = Channel(
        AugmentConfig(
            room_probability=1.0,
            rooms=str(manifests["rooms"]),
            noise_probability=1.0,
            noises=str(manifests["noise"]),
            noise_snr_db=(20.0, 20.0),
        )
    )
    speech_N = noise(8_000)
    for item in range(6):
        out_N, unreadable = channel(speech_N, (2, item), read)
        assert not unreadable
        assert decibel(out_N) == pytest.approx(decibel(speech_N), abs=0.5)
