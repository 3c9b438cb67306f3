import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.front_end import FrontEndConfig, mel_centres
from training.augment import WARP_KNEE, AugmentConfig, change_speed, spec_augment, warp_frequencies
from training.errors import RecipeError


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_speed_changes_length_and_pitch_alike(speed: float) -> None:
    time_s = np.arange(32_000) / 16_000
    tone = np.sin(2 * np.pi * 1000 * time_s).astype(np.float32)
    faster = change_speed(tone, speed, 16_000)
    assert len(faster) == pytest.approx(32_000 / speed, abs=2)
    peak_hz = np.abs(np.fft.rfft(faster * np.hanning(len(faster)))).argmax() * 16_000 / len(faster)
    assert peak_hz == pytest.approx(1000 * speed, abs=2)


def test_a_warped_band_hears_another_frequency_as_the_paper_says() -> None:
    centres_F = mel_centres(FrontEndConfig(f_max_hz=5800.0))
    hertz_BTF = centres_F.expand(60, 3, -1)  # features that say which frequency they are
    heard_BTF = warp_frequencies(hertz_BTF, centres_F, 0.2, range(60))
    top, middle = float(centres_F[-1]), len(centres_F) // 2
    factors_B = heard_BTF[:, 0, middle] / centres_F[middle]
    assert 0.8 <= factors_B.min() < 0.85
    assert 1.15 < factors_B.max() <= 1.2
    for heard_F, factor in zip(heard_BTF[:, 0], factors_B.tolist(), strict=True):
        for hertz, heard in zip(centres_F.tolist(), heard_F.tolist(), strict=True):
            # Jaitly and Hinton's two lines, with the band's end for half the sampling rate
            straight = WARP_KNEE * top * min(factor, 1)
            if hertz <= straight / factor:
                expected = hertz * factor
            else:
                expected = top - (top - straight) / (top - straight / factor) * (top - hertz)
            assert heard == pytest.approx(max(expected, float(centres_F[0])), rel=1e-6)


def test_a_warp_depends_on_the_seed_alone_and_none_changes_nothing() -> None:
    centres_F, features_BTF = mel_centres(FrontEndConfig()), torch.randn(3, 50, 80)
    together = warp_frequencies(features_BTF, centres_F, 0.1, [7, 8, 9])
    assert torch.equal(together[1:2], warp_frequencies(features_BTF[1:2], centres_F, 0.1, [8]))
    assert not torch.equal(together, features_BTF)
    assert torch.equal(warp_frequencies(features_BTF, centres_F, 0.0, [7, 8, 9]), features_BTF)


@given(st.integers(0, 5), st.integers(0, 3), st.lists(st.integers(0, 60), min_size=1, max_size=4))
@settings(deadline=None)
def test_spec_augment_only_ever_zeroes_whole_bins_or_frames_within_bounds(
    time_masks: int, freq_masks: int, lengths: list[int]
) -> None:
    config = AugmentConfig(freq_masks=freq_masks, freq_mask_bins=5, time_masks=time_masks, time_mask_share=0.1)
    features_BTF = torch.ones(len(lengths), 60, 20)
    out_BTF = spec_augment(features_BTF, torch.tensor(lengths), config, range(len(lengths)))
    for row, length in enumerate(lengths):
        kept = out_BTF[row] == 1
        assert ((out_BTF[row] == 0) | kept).all()
        masked_bins, masked_frames = ~kept.any(0), ~kept.any(1)
        if not masked_frames.all():
            assert torch.equal(kept, ~(masked_bins.unsqueeze(0) | masked_frames.unsqueeze(1)))
            assert masked_bins.sum() <= 5 * freq_masks
            assert masked_frames[:length].sum() <= (0.1 * length + 1) * time_masks
            assert not masked_frames[length:].any()


def test_masks_of_a_row_depend_on_its_seed_alone() -> None:
    config = AugmentConfig()
    features_BTF = torch.ones(3, 200, 80)
    together = spec_augment(features_BTF, torch.tensor([200, 150, 100]), config, [7, 8, 9])
    alone = spec_augment(features_BTF[:1, :150], torch.tensor([150]), config, [8])
    assert torch.equal(together[1, :150], alone[0])
    assert not torch.equal(together[0], together[1])


def test_masks_do_mask() -> None:
    config = AugmentConfig(freq_masks=2, freq_mask_bins=27, time_masks=5, time_mask_share=0.05)
    out_BTF = spec_augment(torch.ones(40, 400, 80), torch.full((40,), 400), config, range(40))
    assert 0.2 < float((out_BTF == 0).float().mean()) < 0.6


@pytest.mark.parametrize(
    "options",
    [
        {"speeds": ()},
        {"speeds": (3.0,)},
        {"time_mask_share": 1.5},
        {"gain_db": -1.0},
        {"join_probability": 1.5},
        {"frequency_warp": 0.4},
        {"frequency_warp": -0.1},
        {"freq_masks": -1},
        {"room_probability": 1.1, "rooms": "rooms.tsv"},
        {"room_probability": 0.1},
        {"noise_probability": -0.1},
        {"noise_probability": 0.1},
        {"noise_snr_db": (20.0, 5.0)},
        {"noise_snr_db": (-30.0, 5.0)},
        {"low_pass_probability": float("nan")},
        {"low_pass_hz": (3000.0,)},
        {"low_pass_hz": 3000.0},
        {"low_pass_hz": ("3", "4")},
        {"low_pass_hz": (3000.0, 9000.0)},
        {"codec_probability": 2.0},
        {"codecs": ()},
        {"codecs": ("mp3", "speex")},
        {"codecs": "mp3"},
        {"codec_kbps": (1.0, 32.0)},
    ],
)
def test_options_outside_their_range_are_named(options: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=next(iter(options))):
        AugmentConfig(**options)  # type: ignore[arg-type]  # wrong on purpose
