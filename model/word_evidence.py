"""What a search knows of each of its words besides their letters: what else it could have written, and how surely.

A beam ends with several ways to write the same audio. Their scores, taken as logarithms of unnormalised probabilities,
give each of them a share; a word's share is that of all the ways that have it in that place. Source: Wessel et al.,
"Confidence measures for large vocabulary continuous speech recognition", IEEE TSAP 2001, with an N-best list in place
of a word graph.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from model.decoder import DecodedUnit, Sound, WordEvidence
from model.transcript import MOST_ALTERNATIVES, Alternative

SCORE_SCALE = 0.35  # of the search's scores: a beam's best few would otherwise share everything among themselves
MOST_READINGS = 100  # that are compared


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to write a stretch.

    Attributes:
        words: in order.
        ends: for each of them, the frame in which it ends.
        score: natural logarithm of its unnormalised probability.
    """

    words: tuple[str, ...]
    ends: tuple[int, ...]
    score: float


def weigh(readings: Sequence[Reading], word_log10probs: Sequence[float]) -> list[WordEvidence]:
    """The evidence for each word of the first reading.

    Args:
        readings: one at least, no two of the same words.
        word_log10probs: of the first one's words by the n-gram model, and last of the sentence's end.
    """
    best, highest = readings[0], max(reading.score for reading in readings)
    weights = [math.exp(SCORE_SCALE * (reading.score - highest)) for reading in readings]
    total = sum(weights)
    others_W: list[defaultdict[str, float]] = [defaultdict(float) for _ in best.words]
    for reading, weight in zip(readings, weights, strict=True):
        for at, text in _changes(best, reading):
            others_W[at][text] += weight / total
    evidence = []
    for at, shares in enumerate(others_W):
        share = max(0.0, 1.0 - sum(shares.values()))
        others = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:MOST_ALTERNATIVES]
        alternatives = tuple(Alternative(text, part) for text, part in others)
        evidence.append(WordEvidence(word_log10probs[at], word_log10probs[at + 1], share, alternatives))
    return evidence


def hear(evidence: Sequence[WordEvidence], sounds: Sequence[tuple[Sound, ...]]) -> list[WordEvidence]:
    """The evidence for each word, with its sounds; as it is where there are none."""
    if not sounds:
        return [*evidence]
    return [replace(one, sounds=heard) for one, heard in zip(evidence, sounds, strict=True)]


def attach(units: Iterable[DecodedUnit], boundary: int, evidence: Iterable[WordEvidence]) -> list[DecodedUnit]:
    """The units, each word's first one with its evidence; `boundary` is the unit between words."""
    waiting, attached, inside = iter(evidence), [], False
    for unit in units:
        begins = unit.id != boundary and not inside
        attached.append(replace(unit, evidence=next(waiting, None)) if begins else unit)
        inside = unit.id != boundary
    return attached


def _changes(best: Reading, other: Reading) -> list[tuple[int, str]]:
    """The places of the best reading's words where the other has something else: a word, several, or nothing at all."""
    first = _common(best.words, other.words)
    last = _common(best.words[first:][::-1], other.words[first:][::-1])  # readings differ in a few words
    middle, other_middle = best.words[first : len(best.words) - last], other.words[first : len(other.words) - last]
    if not middle:
        return []
    if len(middle) == 1 and middle[0] not in other_middle:  # most of them in a single one
        return [(first, " ".join(other_middle))]
    matcher = SequenceMatcher(None, middle, other_middle, autojunk=False)
    places: list[list[str]] = [[] for _ in middle]
    for kind, begin, end, other_begin, other_end in matcher.get_opcodes():
        for at in range(other_begin, other_end):
            if kind == "equal":
                places[at - other_begin + begin].append(other_middle[at])
            elif end > begin:  # what was put between two words stands in the place of none
                frames = (other.ends[first + at - 1] if first + at else 0, other.ends[first + at])
                overlaps = [_overlap(best, first + place, *frames) for place in range(begin, end)]
                places[begin + overlaps.index(max(overlaps))].append(other_middle[at])
    texts = [" ".join(words) for words in places]
    return [(first + at, text) for at, text in enumerate(texts) if text != middle[at]]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both begin with."""
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def _overlap(reading: Reading, at: int, begin: int, end: int) -> int:
    """Frames that a word shares with those from `begin` to `end`; negative where they are apart."""
    return min(end, reading.ends[at]) - max(begin, reading.ends[at - 1] if at else 0)
