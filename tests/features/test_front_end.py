"""The front end against librosa, alone against in a batch, and its options at their limits."""

import math

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from features.audio import decode_audio
from features.front_end import FrontEnd, FrontEndConfig, FrontEndConfigError
from tests.conftest import SpokenClip

CONFIGS = {
    "log_mel": FrontEndConfig(),
    "mfcc": FrontEndConfig(kind="mfcc"),
    "log_mel to 5800 Hz": FrontEndConfig(f_max_hz=5_800.0),
    "mfcc of another shape": FrontEndConfig(
        kind="mfcc", window_ms=20.0, hop_ms=12.5, n_fft=400, n_mels=40, n_mfcc=13, f_min_hz=0.0
    ),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
LIMIT = 1e-3


@each_config
def test_recorded_speech_gives_librosas_features(config: FrontEndConfig, dev_clean: list[SpokenClip]) -> None:
    clips = dev_clean[::40]
    assert len(clips) > 20
    assert_librosas(config, [decode_audio(clip.path).samples_N for clip in clips])


@each_config
def test_synthetic_speech_gives_librosas_features(config: FrontEndConfig, synthetic_clips: list[SpokenClip]) -> None:
    assert_librosas(config, [decode_audio(clip.path).samples_N for clip in synthetic_clips])


@each_config
def test_silence_full_scale_and_single_samples_give_librosas_features(config: FrontEndConfig) -> None:
    time_s = np.arange(4000) / 16_000
    signals = [np.zeros(2000), np.sign(np.sin(2 * np.pi * 440 * time_s)), np.ones(1), 0.1 * np.ones(513)]
    assert_librosas(config, [signal.astype(np.float32) for signal in signals])


@each_config
@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_louder_samples_have_features_larger_by_what_is_said(config: FrontEndConfig, factor: float) -> None:
    front_end = FrontEnd(config)
    samples_BN = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    length_B = torch.tensor([3000])
    (as_it_is_BTF, _), (louder_BTF, _) = (front_end(by * samples_BN, length_B) for by in (1.0, factor))
    n_whole = 3000 // config.hop_samples - 3  # behind these is silence, which stays at the floor
    grown_TF = (louder_BTF - as_it_is_BTF)[0, :n_whole]
    torch.testing.assert_close(grown_TF, front_end.raised_by(factor).expand_as(grown_TF), rtol=0, atol=1e-3)


@each_config
def test_silence_has_the_least_features_where_there_are_any(config: FrontEndConfig) -> None:
    front_end = FrontEnd(config)
    features_BTF, _ = front_end(torch.zeros(1, 1000), torch.tensor([1000]))
    if config.kind == "log_mel":
        torch.testing.assert_close(features_BTF[0, 0], front_end.least())
    else:
        assert front_end.least().tolist() == [-math.inf] * config.n_features


@settings(deadline=None, max_examples=40)
@given(
    config=st.sampled_from(list(CONFIGS.values())),
    lengths=st.lists(st.one_of(st.sampled_from([0, 1, 511, 512, 513, 672, 673]), st.integers(0, 5000)), min_size=1),
    padding=st.integers(0, 700),
    garbage=st.sampled_from([0.0, 1e9, math.inf, math.nan]),
)
def test_a_batch_gives_what_each_row_gives_alone(
    config: FrontEndConfig, lengths: list[int], padding: int, garbage: float
) -> None:
    front_end = FrontEnd(config)
    samples_BN = torch.full((len(lengths), max(lengths) + padding), garbage)
    for row, length in enumerate(lengths):
        samples_BN[row, :length] = noise(length)
    features_BTF, frame_lengths_B = front_end(samples_BN, torch.tensor(lengths))
    assert frame_lengths_B.tolist() == [config.n_frames(length) for length in lengths]
    assert features_BTF.shape == (len(lengths), max(frame_lengths_B.tolist()), config.n_features)
    for row, (length, n_frames) in enumerate(zip(lengths, frame_lengths_B.tolist(), strict=True)):
        alone_TF = features_of(front_end, noise(length))
        torch.testing.assert_close(features_BTF[row, :n_frames], alone_TF, rtol=0, atol=1e-4)
        assert features_BTF[row, n_frames:].count_nonzero() == 0


@given(n_samples=st.integers(0, 100_000), config=st.sampled_from(list(CONFIGS.values())))
def test_the_frames_are_the_fewest_that_cover_all_samples(n_samples: int, config: FrontEndConfig) -> None:
    n_frames = config.n_frames(n_samples)
    assert config.padded_samples(n_frames) >= n_samples
    assert n_frames == 0 or config.padded_samples(n_frames - 1) < n_samples


def test_an_empty_batch_and_empty_rows_give_no_frames() -> None:
    front_end = FrontEnd(FrontEndConfig())
    for n_rows, n_samples in [(0, 0), (0, 100), (2, 0), (2, 100)]:
        features_BTF, lengths_B = front_end(torch.ones(n_rows, n_samples), torch.zeros(n_rows, dtype=torch.int64))
        assert features_BTF.shape == (n_rows, 0, 80)
        assert lengths_B.tolist() == [0] * n_rows


def test_nothing_of_the_front_end_is_in_a_bundles_weights() -> None:
    assert not FrontEnd(FrontEndConfig()).state_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "plp"}, "kind is 'plp'"),
        ({"hop_ms": 0.0}, "hop is 0.0 ms"),
        ({"hop_ms": 25.1}, "hop is 25.1 ms"),
        ({"hop_ms": math.nan}, "hop is nan ms"),
        ({"hop_ms": 0.01}, "hop is 0.01 ms; it must be at least one sample"),
        ({"window_ms": 33.0}, "window is 528 samples; n_fft allows at most 512"),
        ({"f_min_hz": -1.0}, "mel band is -1.0..8000.0 Hz; it must lie in 0..8000.0 Hz"),
        ({"f_max_hz": 8001.0}, "mel band is 20.0..8001.0 Hz"),
        ({"f_min_hz": 4000.0, "f_max_hz": 4000.0}, "mel band is 4000.0..4000.0 Hz"),
        ({"n_mels": 0}, "n_mels is 0"),
        ({"kind": "mfcc", "n_mfcc": 0}, "n_mfcc is 0; it must lie in 1..n_mels = 80"),
        ({"kind": "mfcc", "n_mfcc": 81}, "n_mfcc is 81"),
        ({"power_floor": 0.0}, "power_floor is 0.0"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(FrontEndConfigError, match=message):
        FrontEndConfig(**options)  # type: ignore[arg-type]  # wrong on purpose


def assert_librosas(config: FrontEndConfig, waveforms: list[np.ndarray]) -> None:
    front_end = FrontEnd(config)
    for samples_N in waveforms:
        actual_TF = features_of(front_end, torch.from_numpy(samples_N)).numpy()
        expected_TF = librosas_features(config, samples_N)
        assert actual_TF.shape == expected_TF.shape
        np.testing.assert_allclose(actual_TF, expected_TF, rtol=0, atol=LIMIT)


def librosas_features(config: FrontEndConfig, samples_N: np.ndarray) -> np.ndarray:
    """The log-mel or MFCC that librosa makes of the same signal, continued with zeros to whole frames."""
    n_samples = config.n_fft
    while n_samples < len(samples_N):
        n_samples += config.hop_samples
    power_FT = librosa.feature.melspectrogram(
        y=np.pad(samples_N, (0, n_samples - len(samples_N))),
        sr=config.sample_rate_hz,
        n_fft=config.n_fft,
        hop_length=config.hop_samples,
        win_length=config.window_samples,
        center=False,
        power=2.0,
        n_mels=config.n_mels,
        fmin=config.f_min_hz,
        fmax=config.f_max_hz,
    )
    log_mel_FT = np.log(np.maximum(power_FT, config.power_floor))
    if config.kind == "mfcc":
        log_mel_FT = librosa.feature.mfcc(S=log_mel_FT, n_mfcc=config.n_mfcc, norm="ortho")
    return np.asarray(log_mel_FT.T)


def features_of(front_end: FrontEnd, samples_N: Tensor) -> Tensor:
    features_BTF, _ = front_end(samples_N.unsqueeze(0), torch.tensor([len(samples_N)]))
    return torch.as_tensor(features_BTF[0])


def noise(length: int) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(length)) * 0.1
