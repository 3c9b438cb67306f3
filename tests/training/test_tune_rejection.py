"""Weights that tell speech from other sounds, on segments of which it is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import Bundle
from model.errors import OptionError
from model.rejection import Evidence, RejectionConfig, evidence, no_speech_probability
from training.corpora import Utterance
from training.errors import CorpusError
from training.other_sounds import KINDS, RATE_HZ, other_sound
from training.tune_rejection import FEATURES, Heard, fit, tune_rejection

CONFIG = RejectionConfig(evidence_s=3.0)


def segments(n: int, *, apart: float, seed: int = 0) -> list[Heard]:
    """As many of speech as of other sounds, whose evidence lies `apart` deviations apart."""
    random = np.random.default_rng(seed)
    heard = []
    for number in range(2 * n):
        speech = number < n
        values = random.normal(size=len(FEATURES)) + apart * speech
        told = Evidence(*(values * [3, 0.1, 0.2, 0.1, 0.1, 0.5] + [5, -0.5, 0.6, 0.3, 0.8, 1.3]).tolist())
        heard.append(Heard(told, 1 + number % 5, speech, str(number)))
    return heard


def test_what_lies_far_apart_is_told_apart_without_loss() -> None:
    found = fit(segments(200, apart=5.0), CONFIG, most_words_lost=0.0, sounds=250)
    assert (found.words, found.words_lost) == (600, 0)
    assert (found.sounds, found.sounds_with_words, found.sounds_left) == (250, 200, ())
    assert found.config.evidence_s == CONFIG.evidence_s
    assert all(getattr(found.config, name) > 0 for name in FEATURES)


@pytest.mark.parametrize("most_words_lost", [0.0, 0.001, 0.02, 0.2, 1.0])
def test_of_what_overlaps_no_more_words_are_lost_than_allowed(most_words_lost: float) -> None:
    heard = segments(500, apart=0.6)
    found = fit(heard, CONFIG, most_words_lost=most_words_lost, sounds=500)
    assert found.words_lost <= most_words_lost * found.words
    assert found.sounds_left
    if most_words_lost:
        none = fit(heard, CONFIG, most_words_lost=0.0, sounds=500)
        assert len(found.sounds_left) <= len(none.sounds_left)
        assert found.config.threshold <= none.config.threshold


def test_the_weights_say_in_transcribing_what_they_said_in_fitting() -> None:
    """The probability of frames is that of their evidence: both ways to it are one formula."""
    heard = segments(300, apart=1.0, seed=3)
    config = fit(heard, CONFIG, most_words_lost=0.01, sounds=300).config
    log_probs_SV = torch.randn(200, 29, generator=torch.Generator().manual_seed(1)).mul(4).log_softmax(-1)

    told = evidence(log_probs_SV, 0.04, config.shortest_s)
    assert told is not None
    logit = config.bias + sum(getattr(config, name) * getattr(told, name) for name in FEATURES)
    expected = 1 / (1 + np.exp(np.clip(logit, -700, 700)))
    assert no_speech_probability(log_probs_SV, 0.04, config) == pytest.approx(expected, abs=1e-9)


def test_one_kind_alone_is_refused() -> None:
    with pytest.raises(OptionError, match="5 are speech; both kinds are needed"):
        fit(segments(5, apart=1.0)[:5], CONFIG, most_words_lost=0.0, sounds=0)


def test_a_bundle_is_fitted_from_files(tiny_bundle: Bundle, clips_folder: Path) -> None:
    """Random weights hear words in everything, so nothing can be told apart; but all is heard, and said."""
    clips = sorted(clips_folder.glob("*.flac"))[:2]
    utterances = [Utterance(clip.stem, clip, "a word") for clip in clips]
    seen: list[tuple[int, int]] = []
    found = tune_rejection(
        replace(tiny_bundle, rejection=CONFIG),
        utterances,
        clips[:1],
        n_sounds=8,
        most_words_lost=0.1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (11, 11)
    assert found.sounds == 9
    assert 0 < found.sounds_with_words <= 9
    assert found.words > 0


def test_a_recording_that_cannot_be_read_is_named(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "broken.flac").write_bytes(b"no audio")
    broken = Utterance("one", tmp_path / "broken.flac", "a word")
    with pytest.raises(CorpusError, match=r"broken\.flac: "):
        tune_rejection(tiny_bundle, [broken], [], n_sounds=1, most_words_lost=0.1)


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_sounds_made_by_chance_are_the_same_every_time_and_all_different(number: int) -> None:
    sound_N = other_sound(number, 0.5)
    assert sound_N.shape == (RATE_HZ // 2,)
    assert sound_N.dtype == np.float32
    assert np.isfinite(sound_N).all()
    assert -42 < 10 * np.log10(np.mean(sound_N**2)) < -4
    assert np.array_equal(sound_N, other_sound(number, 0.5))
    assert not np.array_equal(sound_N, other_sound(number + len(KINDS), 0.5))
