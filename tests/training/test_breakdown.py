from pathlib import Path

import pytest

from training.breakdown import by_durations, by_speakers, certainty, worst_utterances
from training.corpora import Utterance
from training.evaluate import UtteranceResult
from training.metrics import ErrorCounts, character_errors, word_errors


def heard(id: str, said: str, heard: str, *, speaker: str = "", duration_s: float = 1.0) -> UtteranceResult:
    return UtteranceResult(
        Utterance(id, Path(f"{id}.wav"), said.upper(), speaker),
        said,
        heard,
        word_errors([said], [heard]),
        character_errors([said], [heard]),
        duration_s,
        (0.5,) * len(heard.split()),
    )


RESULTS = [
    heard("a1", "one two", "one too", speaker="ann", duration_s=3.999),
    heard("b1", "one", "one", speaker="bob", duration_s=4.0),
    heard("a2", "one two", "one two", speaker="ann", duration_s=15.0),
    heard("b2", "one", "two three", speaker="bob", duration_s=14.0),
    heard("b3", "one two three", "", speaker="bob", duration_s=100.0),
]


def test_parts_add_up_to_the_whole() -> None:
    words = sum((result.words for result in RESULTS), ErrorCounts())
    for parts in (by_speakers(RESULTS), by_durations(RESULTS)):
        assert sum((part.words for part in parts), ErrorCounts()) == words
        assert sum(part.audio_s for part in parts) == pytest.approx(136.999)
        assert sorted(r.utterance.id for part in parts for r in part.results) == ["a1", "a2", "b1", "b2", "b3"]


def test_speakers_stand_by_their_rate() -> None:
    parts = by_speakers([*RESULTS, heard("x", "one", "two")])
    assert [(part.label, part.words.rate) for part in parts] == [("ann", 0.25), ("", 1.0), ("bob", 1.0)]


def test_an_edge_belongs_to_the_longer_range() -> None:
    members = {part.label: [r.utterance.id for r in part.results] for part in by_durations(RESULTS)}
    assert members == {"under 4 s": ["a1"], "4 to 8 s": ["b1"], "8 to 15 s": ["b2"], "15 s and longer": ["a2", "b3"]}
    assert [part.label for part in by_durations(RESULTS[1:2])] == ["4 to 8 s"]  # ranges without utterances are left out


def test_the_worst_come_first_and_the_faultless_never() -> None:
    assert [r.utterance.id for r in worst_utterances(RESULTS, 9)] == ["b2", "b3", "a1"]
    assert [r.utterance.id for r in worst_utterances(RESULTS, 1)] == ["b2"]
    tie = [heard("z", "a", "b"), heard("y", "a", "b"), heard("x", "a c", "b d")]
    assert [r.utterance.id for r in worst_utterances(tie, 9)] == ["x", "y", "z"]


def test_speakers_are_drawn_where_they_are_known() -> None:
    sure = certainty(RESULTS)
    assert sure is not None and sure.by_speaker and sure.groups == 2
    # With two speakers, the resamples are ann twice, bob twice (a quarter each) or both: the ends are the pure ones.
    assert (sure.words.low, sure.words.high) == pytest.approx((1 / 4, 5 / 5))
    chars = {part.label: part.characters.rate for part in by_speakers(RESULTS)}
    assert (sure.characters.low, sure.characters.high) == pytest.approx(sorted(chars.values()))


@pytest.mark.parametrize("speakers", [("ann", "ann"), ("ann", ""), ("", "")])
def test_utterances_are_drawn_where_speakers_cannot_be(speakers: tuple[str, str]) -> None:
    results = [heard(str(i), "one two", "one", speaker=speaker) for i, speaker in enumerate(speakers)]
    sure = certainty([*results, results[0]])
    assert sure is not None and not sure.by_speaker and sure.groups == 3
    assert sure.words.low <= 0.5 <= sure.words.high


def test_one_utterance_says_nothing_of_its_spread() -> None:
    assert certainty(RESULTS[:1]) is None
