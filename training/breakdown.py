"""An evaluation in parts: by speaker, by duration, the worst utterances, and how far its rates can be trusted."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.bootstrap import Interval, rate_interval
from training.evaluate import UtteranceResult
from training.metrics import ErrorCounts

DURATION_EDGES_S = (4.0, 8.0, 15.0)


@dataclass(frozen=True)
class Part:
    """Some utterances of an evaluation, together.

    Attributes:
        label: what they have in common; empty where that is not known.
        results: the utterances, in corpus order.
    """

    label: str
    results: tuple[UtteranceResult, ...]

    @property
    def audio_s(self) -> float:
        """Seconds of audio."""
        return sum(result.duration_s for result in self.results)

    @property
    def words(self) -> ErrorCounts:
        """Word errors."""
        return sum((result.words for result in self.results), ErrorCounts())

    @property
    def characters(self) -> ErrorCounts:
        """Character errors."""
        return sum((result.characters for result in self.results), ErrorCounts())


@dataclass(frozen=True)
class Certainty:
    """Confidence intervals of some utterances' rates; `training.bootstrap` says how.

    Attributes:
        words, characters: of WER and CER.
        groups: how many speakers, or utterances, were drawn from.
        by_speaker: whether speakers were drawn; otherwise utterances, because there is one speaker, or some utterances
            do not say who speaks.
    """

    words: Interval
    characters: Interval
    groups: int
    by_speaker: bool


def certainty(results: Sequence[UtteranceResult]) -> Certainty | None:
    """Confidence intervals of WER and CER; None for fewer than two utterances, which say nothing of their spread."""
    if len(results) < 2:
        return None
    speakers = {result.utterance.speaker for result in results}
    by_speaker = len(speakers) > 1 and "" not in speakers
    groups = by_speakers(results) if by_speaker else [Part("", (result,)) for result in results]
    counts = [(part.words, part.characters) for part in groups]
    words, characters = (
        rate_interval(np.array([_errors(c) for c in each]), np.array([c.reference_units for c in each]))
        for each in zip(*counts, strict=True)
    )
    return Certainty(words, characters, len(groups), by_speaker)


def by_speakers(results: Iterable[UtteranceResult]) -> list[Part]:
    """A part for each speaker, the lowest WER first; utterances that do not say who speaks are one part."""
    parts = _group(results, lambda result: result.utterance.speaker)
    return sorted((Part(*item) for item in parts.items()), key=lambda part: (part.words.rate, part.label))


def by_durations(results: Iterable[UtteranceResult]) -> list[Part]:
    """A part for each range of durations between `DURATION_EDGES_S` in which there is an utterance, short ones first.

    A duration that is an edge belongs to the longer range.
    """
    edges_s = DURATION_EDGES_S
    middle = [f"{low:g} to {high:g} s" for low, high in pairwise(edges_s)]
    labels = [f"under {edges_s[0]:g} s", *middle, f"{edges_s[-1]:g} s and longer"]
    parts = _group(results, lambda result: labels[sum(result.duration_s >= edge_s for edge_s in edges_s)])
    return [Part(label, parts[label]) for label in labels if label in parts]


def worst_utterances(results: Iterable[UtteranceResult], most: int) -> list[UtteranceResult]:
    """The `most` utterances of the highest WER that have an error; of equal ones, those with more errors first."""
    wrong = [result for result in results if _errors(result.words)]
    return sorted(wrong, key=lambda r: (-r.words.rate, -_errors(r.words), r.utterance.id))[:most]


def _errors(counts: ErrorCounts) -> int:
    return counts.substitutions + counts.deletions + counts.insertions


def _group(
    results: Iterable[UtteranceResult], key: Callable[[UtteranceResult], str]
) -> dict[str, tuple[UtteranceResult, ...]]:
    groups: dict[str, list[UtteranceResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return {label: tuple(members) for label, members in groups.items()}
