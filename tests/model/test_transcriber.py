"""The one path, with random weights: what it says is noise, but it has to be the same noise by every way."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from features.audio import Waveform, open_audio
from features.errors import AudioParameterError, AudioTooLongError, EmptyAudioError
from features.front_end import FrontEnd, FrontEndConfig
from model.alignment import build_segments
from model.checkpoint import Bundle, save_bundle
from model.chunking import ChunkingConfig
from model.decoder import decode_greedy
from model.errors import BundleNotFoundError
from model.language_model import BeamSearchConfig, LanguageModel
from model.phones import N_PHONES
from model.rejection import RejectionConfig
from model.stretches import StretchConfig
from model.transcriber import Transcriber
from model.transcript import Transcript
from tests.arpa import word_list_arpa
from tests.model.conftest import BundleMaker

RATE_HZ = 16_000
SHORT_WINDOWS = ChunkingConfig(window_s=2.0, context_s=0.5)


@pytest.fixture
def transcriber(tiny_bundle: Bundle) -> Transcriber:
    return Transcriber(tiny_bundle, chunking=SHORT_WINDOWS)


def test_bytes_path_and_waveform_give_the_same_transcript(transcriber: Transcriber, tmp_path: Path) -> None:
    waveform = noise(3.3)
    (tmp_path / "clip.wav").write_bytes(wav_of(waveform))
    expected = transcriber.transcribe(waveform)
    assert expected.text
    assert transcriber.transcribe(wav_of(waveform)) == expected
    assert transcriber.transcribe(tmp_path / "clip.wav") == expected
    assert transcriber.transcribe(str(tmp_path / "clip.wav")) == expected
    with open_audio(wav_of(waveform)) as stream:
        assert transcriber.transcribe(stream) == expected


def test_a_transcript_agrees_with_itself_and_with_the_log_probs(transcriber: Transcriber) -> None:
    waveform = noise(7.7)
    transcript = transcriber.transcribe(waveform)
    units = decode_greedy(transcriber.log_probs(waveform))
    assert transcript.text.split() == transcriber.bundle.tokenizer.decode([unit.id for unit in units]).split()
    assert len(transcript.words) > 5
    assert transcript.text == " ".join(word.text for word in transcript.words)
    assert transcript.text == " ".join(segment.text for segment in transcript.segments)
    times_s = [time_s for word in transcript.words for time_s in (word.start_s, word.end_s)]
    assert times_s == sorted(times_s)
    assert 0 <= times_s[0] <= times_s[-1] <= transcript.duration_s == 7.7
    assert times_s[-1] > 7  # the last second of the audio is still there after stitching


def test_where_there_is_a_speller_a_greedy_transcript_is_what_it_writes(make_bundle: BundleMaker) -> None:
    bundle = make_bundle(0, n_phones=N_PHONES, spelling_layers=2)
    bundle.acoustic_model.speller.head.bias[3] += 8  # in every second frame
    transcriber = Transcriber(bundle, chunking=SHORT_WINDOWS)
    waveform = noise(7.7)
    log_probs_SO = transcriber.log_probs(waveform)
    heard, spelled = (
        bundle.tokenizer.decode([unit.id for unit in decode_greedy(log_probs_SO[:, columns])]).split()
        for columns in bundle.acoustic_model.config.columns[:2]
    )
    assert transcriber.transcribe(waveform).text.split() == spelled != heard


def test_silence_is_blank_in_every_distribution(make_bundle: BundleMaker) -> None:
    for options in ({}, {"n_phones": N_PHONES}, {"n_phones": N_PHONES, "spelling_layers": 1}):
        bundle = make_bundle(0, **options)
        log_probs_SO = Transcriber(bundle)._silence(3)
        assert log_probs_SO.shape == (3, bundle.acoustic_model.config.n_outputs)
        for columns in bundle.acoustic_model.config.columns:
            assert (log_probs_SO[:, columns].argmax(-1) == 0).all() and (log_probs_SO[:, columns.start] == 0).all()


@pytest.mark.parametrize("greedy", [False, True])
def test_a_search_does_without_the_speller(make_bundle: BundleMaker, tmp_path: Path, greedy: bool) -> None:
    bundle = make_bundle(0, n_phones=N_PHONES, spelling_layers=1)
    (tmp_path / "words.arpa").write_text(word_list_arpa("a", "b"))
    model = LanguageModel(tmp_path / "words.arpa", ("a", "b"), BeamSearchConfig())
    save_bundle(bundle, tmp_path / "greedy")
    save_bundle(replace(bundle, language_model=model), tmp_path / "led")
    for name in ("greedy", "led"):
        loaded = Transcriber.from_bundle(tmp_path / name, greedy=greedy, runtime="torch")
        spells = bool(loaded.bundle.acoustic_model.config.spelling_layers)
        assert spells == (greedy or name == "greedy")
        assert loaded.log_probs(noise(0.5)).shape[1] == loaded.bundle.acoustic_model.config.n_outputs


def test_log_probs_are_the_parts_of_the_bundle_one_after_another(tiny_bundle: Bundle) -> None:
    waveform = noise(1.2)
    samples_BN = torch.from_numpy(waveform.samples_N).unsqueeze(0)
    features_BTF, lengths_B = tiny_bundle.front_end(samples_BN, torch.tensor([samples_BN.shape[1]]))
    log_probs_BSV, _ = tiny_bundle.acoustic_model(tiny_bundle.cmvn(features_BTF, lengths_B), lengths_B)
    torch.testing.assert_close(Transcriber(tiny_bundle).log_probs(waveform), log_probs_BSV[0], rtol=0, atol=1e-4)


def test_eight_threads_say_what_one_says(transcriber: Transcriber) -> None:
    waveforms = [noise(0.5 + 0.4 * index, seed=index) for index in range(16)]
    expected = [transcriber.transcribe(waveform) for waveform in waveforms]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(transcriber.transcribe, waveforms)) == expected


@pytest.mark.parametrize("samples_N", [np.zeros(0), np.zeros(1), np.zeros(8000)], ids=len)
def test_a_model_that_hears_nothing_gives_an_empty_transcript(make_bundle: BundleMaker, samples_N: np.ndarray) -> None:
    bundle = make_bundle(0)
    bundle.acoustic_model.head.weight.data.zero_()
    bundle.acoustic_model.head.bias.data[0] = 9.0  # blank always
    waveform = Waveform(samples_N.astype(np.float32))
    transcript = Transcriber(bundle).transcribe(waveform)
    assert transcript == Transcript(text="", segments=(), duration_s=len(samples_N) / RATE_HZ)
    assert not transcript.words and not transcript.tokens


def test_a_file_without_samples_is_refused(transcriber: Transcriber) -> None:
    with pytest.raises(EmptyAudioError):
        transcriber.transcribe(wav_of(Waveform(np.zeros(0, np.float32))))


@pytest.mark.parametrize("duration_s", [0.01, 1.0, 9.5])
def test_progress_rises_to_one(transcriber: Transcriber, duration_s: float) -> None:
    shares: list[float] = []
    transcriber.transcribe(noise(duration_s), progress=shares.append)
    assert all(earlier < later for earlier, later in pairwise(shares))
    assert 0 < shares[0] <= shares[-1] == 1.0
    assert len(shares) == (1 if duration_s <= SHORT_WINDOWS.window_s else 10)


def test_the_duration_limit_holds_for_files_and_for_waveforms(transcriber: Transcriber) -> None:
    waveform = noise(1.5)
    for audio in (waveform, wav_of(waveform)):
        assert transcriber.transcribe(audio, max_duration_s=1.5).duration_s == 1.5
        with pytest.raises(AudioTooLongError, match=r"limit of 1.4 s"):
            transcriber.transcribe(audio, max_duration_s=1.4)


def test_a_waveform_of_another_rate_is_refused(transcriber: Transcriber) -> None:
    with pytest.raises(AudioParameterError, match="8000 Hz; the model hears 16000 Hz"):
        transcriber.transcribe(Waveform(np.zeros(800, np.float32), sample_rate_hz=8000))


def test_a_read_only_waveform_is_heard_and_left_alone(transcriber: Transcriber) -> None:
    waveform = noise(0.5)
    frozen = Waveform(np.frombuffer(waveform.samples_N.tobytes(), np.float32))
    assert transcriber.transcribe(frozen) == transcriber.transcribe(waveform)


def test_times_follow_the_front_ends_hop(tiny_bundle: Bundle) -> None:
    """Frames of 20 ms make output frames of 80 ms."""
    bundle = replace(tiny_bundle, front_end=FrontEnd(FrontEndConfig(hop_ms=20.0)))
    waveform = noise(4.0)
    transcriber = Transcriber(bundle)
    assert len(transcriber.log_probs(waveform)) == 50
    starts_s = [token.start_s for token in transcriber.transcribe(waveform).tokens]
    assert starts_s == pytest.approx([round(start_s / 0.08) * 0.08 for start_s in starts_s])
    assert max(starts_s) > 3


def test_a_bundle_on_disk_is_served_under_its_name(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(replace(tiny_bundle, weight_format="float32"), tmp_path / "bundle")
    n_threads = torch.get_num_threads()
    transcriber = Transcriber.from_bundle(tmp_path / "bundle", runtime="torch")
    assert (transcriber.name, transcriber.created_at) == ("tiny", 1_700_000_000)
    assert transcriber.training == tiny_bundle.training
    assert torch.get_num_threads() == n_threads
    assert transcriber.transcribe(noise(1.0)) == Transcriber(tiny_bundle).transcribe(noise(1.0))


def test_the_number_of_threads_can_be_set(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "bundle")
    n_threads = torch.get_num_threads()
    try:
        Transcriber.from_bundle(tmp_path / "bundle", threads=3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)


def test_no_bundle_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no bundle at"):
        Transcriber.from_bundle(tmp_path)


def noise(duration_s: float, *, seed: int = 0) -> Waveform:
    """Noise that comes and goes ten times a second."""
    n_samples = round(duration_s * RATE_HZ)
    time_s = np.arange(n_samples) / RATE_HZ
    samples_N = np.random.default_rng(seed).normal(0, 0.1, n_samples) * np.sin(2 * np.pi * 5 * time_s) ** 4
    return Waveform(samples_N.astype(np.float32))


def wav_of(waveform: Waveform) -> bytes:
    """A file that holds the very same samples."""
    file = io.BytesIO()
    soundfile.write(file, waveform.samples_N, waveform.sample_rate_hz, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_a_transcript_that_grows_is_the_transcript_of_all_at_once(tiny_bundle: Bundle) -> None:
    """Two minutes: several stretches for the search, with segments that go on from one into the next."""
    waveform = noise(120.0)
    transcriber = Transcriber(tiny_bundle, detection=None, rejection=None, timing=None)
    log_probs_SV = transcriber.log_probs(waveform)
    assert len(log_probs_SV) > 3 * StretchConfig().longest
    at_once = build_segments(
        transcriber.decode(log_probs_SV),
        log_probs_SV,
        transcriber.bundle.tokenizer,
        frame_s=transcriber.frame_s,
        duration_s=waveform.duration_s,
    )
    grown = transcriber.transcribe(waveform)
    assert len(grown.words) > 20
    assert grown.words == tuple(word for segment in at_once for word in segment.words)
    assert [segment.text for segment in grown.segments] == [segment.text for segment in at_once]
    assert [segment.id for segment in grown.segments] == list(range(len(at_once)))


def test_words_keep_their_times_after_a_long_silence(tiny_bundle: Bundle) -> None:
    """The network never hears the silence; the same noise after it has the same words, that much later."""
    transcriber = Transcriber(tiny_bundle, rejection=None)
    sound_N = noise(20.0).samples_N
    silence_N = np.zeros(64 * RATE_HZ, np.float32)  # whole output frames
    twice = transcriber.transcribe(Waveform(np.concatenate([silence_N, sound_N, silence_N, sound_N, silence_N])))
    assert twice.duration_s == 3 * 64 + 2 * 20
    middle_s = 64 + 20 + 32
    first = [word for word in twice.words if word.start_s < middle_s]
    second = [word for word in twice.words if word.start_s > middle_s]
    assert len(first) > 5
    assert [word.text for word in first] == [word.text for word in second]
    for one, other in zip(first, second, strict=True):
        assert 63 <= one.start_s <= 85
        assert other.start_s - one.start_s == pytest.approx(84.0)


def test_unsure_words_are_dropped_and_sure_ones_kept(tiny_bundle: Bundle) -> None:
    waveform = noise(5.0)
    everything = Transcriber(tiny_bundle, rejection=None).transcribe(waveform)
    assert everything.words
    kept = Transcriber(tiny_bundle, rejection=RejectionConfig(threshold=1.0)).transcribe(waveform)
    assert kept.words == everything.words
    none = Transcriber(tiny_bundle, rejection=RejectionConfig(threshold=0.0)).transcribe(waveform)
    assert none == Transcript("", (), 5.0)


def test_progress_goes_on_through_a_file_and_through_silence(transcriber: Transcriber) -> None:
    for waveform in (noise(30.0), Waveform(np.zeros(30 * RATE_HZ, np.float32))):
        shares: list[float] = []
        transcriber.transcribe(wav_of(waveform), progress=shares.append)
        assert len(shares) > 3
        assert all(earlier < later for earlier, later in pairwise(shares))
        assert 0 < shares[0] < 0.5
        assert shares[-1] == 1.0
