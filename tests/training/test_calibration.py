import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli import app
from model.checkpoint import Bundle, load_bundle
from model.errors import OptionError
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from tests.conftest import SpokenClip, read_manifest
from training.calibration import _ranking, calibrate, chance_error, expected_calibration_error, fit
from training.corpora import Utterance


def test_the_error_is_how_far_bins_lie_from_the_share_that_is_right() -> None:
    confidence = np.array([0.91, 0.95, 0.99, 0.15, 0.11])
    right = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    expected = (3 * abs(0.95 - 2 / 3) + 2 * abs(0.13 - 1 / 2)) / 5
    assert expected_calibration_error(confidence, right) == pytest.approx(expected)
    assert expected_calibration_error(np.zeros(0), np.zeros(0)) == 0.0


def test_true_confidences_still_have_the_error_that_chance_gives() -> None:
    random = np.random.default_rng(1)
    for words, least, most in ((100, 0.05, 0.15), (100_000, 0.0, 0.005)):
        confidence = random.random(words)
        right = (random.random(words) < confidence).astype(float)
        assert least < chance_error(confidence) < most
        assert chance_error(confidence) == pytest.approx(expected_calibration_error(confidence, right), abs=0.05)


def test_the_fit_finds_the_weights_that_words_were_made_with() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(40_000, 7)) * np.array([1, 2, 3, 0.5, 1, 1, 0])
    log_odds = 0.5 + features @ np.array([1.0, -0.5, 0.2, 2.0, 0.0, 0.7, 0.0])
    right = (random.random(len(features)) < 1 / (1 + np.exp(-log_odds))).astype(float)
    found = fit(features, right)
    weights = [found.bias, found.certainty, found.weakest, found.letters, found.frames_a_letter]
    assert weights == pytest.approx([0.5, 1.0, -0.5, 0.2, 2.0], abs=0.08)
    assert found.next_log10prob == pytest.approx(0.7, abs=0.08)
    assert found.agreement == 0.0  # that feature never changes


def test_words_that_can_be_told_apart_for_certain_leave_weights_finite() -> None:
    features = np.column_stack([np.linspace(-1, 1, 100), *6 * [np.zeros(100)]])
    assert 1 < fit(features, (features[:, 0] > 0).astype(float)).certainty < 1000


def test_ranking_counts_pairs_in_order() -> None:
    confidence, right = np.array([0.9, 0.5, 0.5, 0.1]), np.array([1.0, 1.0, 0.0, 0.0])
    assert _ranking(confidence, right) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


def test_too_few_words_are_refused(tiny_bundle: Bundle, synthetic_clips: list[SpokenClip]) -> None:
    utterances = [Utterance("a", synthetic_clips[0].path, synthetic_clips[0].transcript, "a", 1.0)]
    with pytest.raises(OptionError, match="50 are the least"):
        calibrate(tiny_bundle, utterances)


def test_a_calibrated_bundle_knows_how_sure_its_words_are(
    synthetic_clips: list[SpokenClip], clips_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.calibration.LEAST_WORDS", 20)  # of every fourth of twelve clips
    bundle, manifest = tmp_path / "bundle", tmp_path / "clips.tsv"
    shutil.copytree(SHIPPED_BUNDLE, bundle)
    clips = [*synthetic_clips, *read_manifest(clips_folder / "words" / "clips.tsv")]
    # Words have to be wrong too, and of so clear clips none may be: each reference ends otherwise than the clip.
    texts = [f"{clip.transcript.rsplit(' ', 1)[0]} OTHERWISE" for clip in clips]
    rows = [f"{clip.id}\t{clip.path}\t{clip.duration_s}\t{text}" for clip, text in zip(clips, texts, strict=True)]
    manifest.write_text("\n".join(["id\tpath\tduration_s\ttranscript", *rows]) + "\n")
    result = CliRunner().invoke(app, ["calibrate", str(bundle), "--manifest", str(manifest)])
    assert result.exit_code == 0, result.output
    ways = ["beam search", "greedy", "live beam search", "live greedy"]
    assert [line.split(":")[0] for line in result.output.splitlines()] == ways
    loaded = load_bundle(bundle)
    assert loaded.confidence is not None
    assert loaded.confidence.live_search not in (None, loaded.confidence.search)
    assert Transcriber(loaded).live_confidence == loaded.confidence.live_search
    assert Transcriber(loaded, greedy=True).live_confidence == loaded.confidence.live_greedy
    assert Transcriber(loaded).confidence == loaded.confidence.search
    told = Transcriber(loaded, greedy=True).transcribe(clips[0].path).words
    plain = Transcriber(replace(loaded, confidence=None), greedy=True).transcribe(clips[0].path).words
    assert [word.text for word in told] == [word.text for word in plain]
    assert [word.confidence for word in told] != [word.confidence for word in plain]
    assert all(0 < word.confidence < 1 for word in told)
