"""The report of an evaluation: one HTML file that holds all it shows and asks the network for nothing.

Transcripts, names of files and what a bundle says of itself come from others. Everything is escaped by the template
engine, and the page's own content policy forbids scripts and everything from elsewhere.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import jinja2
import torch

from model.transcriber import Transcriber
from training.bootstrap import CONFIDENCE, RESAMPLES, SEED
from training.breakdown import by_durations, by_speakers, certainty, worst_utterances
from training.clips import Clip, embed_clip
from training.confusions import AlignedPair, align_characters, align_words, count_confusions
from training.errors import ReportError
from training.evaluate import Evaluation, UtteranceResult
from training.figures import confidence_figure, duration_figure, learning_figures, percent
from training.history import Pass

REPORT_FILE = "report.html"
WORST = 20
MOST_CONFUSIONS = 15  # of a kind
FEW_SPEAKERS = 20  # below, an interval from resampled speakers is rather too narrow


@dataclass(frozen=True)
class Subject:
    """What was evaluated, for the head of the page.

    Attributes:
        bundle: its name.
        corpus: where it came from, with conditions and limits, as one would say it.
        day: of the evaluation.
        facts: all else, as (what, value).
    """

    bundle: str
    corpus: str
    day: date
    facts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, transcriber: Transcriber, *, corpus: str, day: date, commit: str) -> "Subject":
        """What can be said of a transcriber: size, decoding, training, and the commits that trained and evaluated."""
        bundle = transcriber.bundle
        size = sum(parameter.numel() for parameter in bundle.acoustic_model.parameters())
        decoding = "greedy"
        if bundle.language_model is not None and not transcriber.greedy:
            search = bundle.language_model.search
            decoding = (
                f"language model: weight {search.lm_weight:g}, word bonus {search.word_bonus:g}, "
                f"beam {search.beam_size}, {count(len(bundle.language_model.words))} words"
            )
        record = bundle.training
        trained = [f"{record[key]} {unit}" for key, unit in (("hours", "h"), ("passes", "passes")) if key in record]
        facts = {
            "Parameters": count(size),
            "Decoding": decoding,
            "Trained": ", ".join(trained),
            "Commit that trained": str(record.get("commit", "")),
            "Commit that evaluated": commit,
            "Computed with": f"torch {torch.__version__}, threads: {torch.get_num_threads()}",
        }
        return cls(bundle.name, corpus, day, tuple((what, value) for what, value in facts.items() if value))


@dataclass(frozen=True)
class Example:
    """One utterance of the page: what was said and heard, side by side, and how it sounds."""

    result: UtteranceResult
    pairs: tuple[AlignedPair, ...]
    clip: Clip


def count(number: int) -> str:
    """A count as it is written: 16107 → "16 107", with spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")


def length(seconds: float) -> str:
    """A length of audio: hours, or minutes below one hour."""
    return f"{seconds / 3600:.2f}\u00a0h" if seconds >= 3600 else f"{seconds / 60:.1f}\u00a0min"


def write_report(
    evaluation: Evaluation,
    subject: Subject,
    folder: str | os.PathLike[str],
    *,
    worst: int = WORST,
    history: Sequence[Pass] = (),
) -> Path:
    """Write `report.html` into a folder, which is made where it is missing, and return its path.

    The same evaluation, subject and history give the same bytes.

    Args:
        evaluation: one utterance at least.
        subject: what was evaluated.
        folder: where to.
        worst: how many utterances are shown with their audio, at most `training.clips.MAX_CLIP_BYTES` each.
        history: the passes of the run, for the learning curves.

    Raises:
        ReportError: nothing was evaluated, or `worst` is negative.
        OSError: the folder cannot be written.
    """
    if worst < 0:
        raise ReportError(f"worst is {worst}; it has to be 0 or more")
    if not evaluation.results:
        raise ReportError("there is no utterance to report on")
    page = render(evaluation, subject, worst=worst, history=history)
    target = Path(folder) / REPORT_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{REPORT_FILE}.tmp")
    scratch.write_text(page, encoding="utf-8")
    os.replace(scratch, target)
    return target


def render(evaluation: Evaluation, subject: Subject, *, worst: int, history: Sequence[Pass]) -> str:
    """The page as HTML; arguments as in `write_report`."""
    results = evaluation.results
    figures = [duration_figure(results), confidence_figure(results)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": count, "length": length, "size": len}
    return environment.get_template("report.html.j2").render(
        subject=subject,
        evaluation=evaluation,
        sure=certainty(results),
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        seed=SEED,
        few_speakers=FEW_SPEAKERS,
        durations=by_durations(results),
        speakers=by_speakers(results),
        figures=[figure for figure in figures if figure is not None],
        learning=learning_figures(history),
        examples=_examples(worst_utterances(results, worst)),
        words=count_confusions(align_words(r.reference, r.hypothesis) for r in results),
        characters=count_confusions(align_characters(r.reference, r.hypothesis) for r in results),
        most=MOST_CONFUSIONS,
    )


def _examples(results: Iterable[UtteranceResult]) -> list[Example]:
    return [
        Example(result, align_words(result.reference, result.hypothesis), embed_clip(result.utterance.path))
        for result in results
    ]
