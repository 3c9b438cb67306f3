"""The shipped bundle listens to the synthetic clips; what it is not sure of is left out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from model.errors import OptionError
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from tests.conftest import SpokenClip
from training.corpora import Utterance, read_corpus, write_manifest
from training.errors import CorpusError
from training.metrics import character_errors
from training.pseudo_labels import PseudoLabel, choose, pseudo_label


@pytest.fixture(scope="module")
def led() -> Transcriber:
    """The shipped bundle with its language model."""
    return Transcriber.from_bundle(SHIPPED_BUNDLE, runtime="torch")


@pytest.fixture(scope="module")
def greedy(led: Transcriber) -> Transcriber:
    """The same without."""
    return Transcriber(led.bundle, greedy=True)


def untranscribed(clips: Sequence[SpokenClip]) -> list[Utterance]:
    return [Utterance(clip.id, clip.path, "") for clip in clips]


def test_labels_are_the_language_models_words_and_how_far_the_letters_lie_from_them(
    led: Transcriber, greedy: Transcriber, synthetic_clips: list[SpokenClip]
) -> None:
    told = []
    labels = pseudo_label(
        led, greedy, untranscribed(synthetic_clips[:3]), threads=1, progress=lambda *count: told.append(count)
    )
    assert told == [(done, 6) for done in range(1, 7)]
    for label, clip in zip(labels, synthetic_clips, strict=False):
        words, letters = led.transcribe(clip.path).text, greedy.transcribe(clip.path).text
        assert label.utterance.transcript == words != ""
        assert label.utterance.duration_s == pytest.approx(clip.duration_s, abs=0.01)
        assert label.disagreement == character_errors([words], [letters]).rate
    with pytest.raises(OptionError, match="has no language model"):
        pseudo_label(Transcriber(replace(led.bundle, language_model=None, neural_lm=None)), greedy, [])


def test_what_cannot_be_read_is_named_and_too_much_of_it_is_refused(
    led: Transcriber, greedy: Transcriber, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=r"1 of 1 utterances have audio that cannot be transcribed.*gone\.wav"):
        pseudo_label(led, greedy, [Utterance("gone", tmp_path / "gone.wav", "")], threads=1)


def label(transcript: str, disagreement: float) -> PseudoLabel:
    return PseudoLabel(Utterance(transcript, Path("x.wav"), transcript), disagreement)


def test_sure_and_long_enough_is_what_is_kept() -> None:
    labels = [label("one two three", 0.2), label("one two", 0.0), label("one two three four", 0.21), label("", 1.0)]
    assert [u.id for u in choose(labels, most_disagreement=0.2, least_words=3)] == ["one two three"]
    assert [u.id for u in choose(labels, most_disagreement=0.1, least_words=1)] == ["one two"]
    for wrong in (
        {"most_disagreement": -0.1, "least_words": 3},
        {"most_disagreement": float("nan"), "least_words": 3},
        {"most_disagreement": 0.2, "least_words": 0},
    ):
        with pytest.raises(OptionError, match="at least 0 and at least 1 are needed"):
            choose(labels, **wrong)  # type: ignore[arg-type]  # a dict of both


def test_the_command_writes_what_it_keeps_and_says_how_much(
    synthetic_clips: list[SpokenClip], tmp_path: Path, led: Transcriber, greedy: Transcriber
) -> None:
    manifest, output = tmp_path / "heard.tsv", tmp_path / "labels.tsv"
    write_manifest(untranscribed(synthetic_clips[:3]), manifest)
    labels = pseudo_label(led, greedy, untranscribed(synthetic_clips[:3]), threads=1)
    bound = sorted(label.disagreement for label in labels)[1]
    sure = [label.utterance for label in labels if label.disagreement <= bound]
    command = ["data", "pseudo-label", str(manifest), str(output), "--most-disagreement", repr(bound)]
    outcome = CliRunner().invoke(cli.app, [*command, "--least-words", "1", "--threads", "1", "--runtime", "torch"])
    assert outcome.exit_code == 0, outcome.output
    assert f"{len(sure)} of 3 utterances, " in outcome.output
    kept = read_corpus(output)
    assert [(u.id, u.transcript) for u in kept] == [(u.id, u.transcript) for u in sure]
    assert all(u.path.exists() for u in kept)


def test_the_subset_command_writes_a_manifest(tmp_path: Path, synthetic_clips: list[SpokenClip]) -> None:
    clips = [Utterance(c.id, c.path, c.transcript, "s", c.duration_s) for c in synthetic_clips]
    write_manifest(clips, tmp_path / "all.tsv")
    hours = 1.5 * clips[0].duration_s / 3600
    command = ["data", "subset", str(tmp_path / "all.tsv"), str(tmp_path / "some.tsv"), "--hours", repr(hours)]
    outcome = CliRunner().invoke(cli.app, command)
    assert outcome.exit_code == 0, outcome.output
    some = read_corpus(tmp_path / "some.tsv")
    assert 0 < len(some) < len(clips) and sum(u.duration_s for u in some) >= 3600 * hours - 0.01
    assert f"{len(some)} utterances, " in outcome.output and "1 speakers" in outcome.output
