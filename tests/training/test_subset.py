from pathlib import Path

import pytest

from training.corpora import Utterance
from training.errors import CorpusError
from training.subset import balanced_subset


def corpus() -> list[Utterance]:
    """A speaker of an hour, two of 10 minutes."""
    seconds = {"often": 360, "seldom": 60, "rarely": 60}
    return [
        Utterance(f"{speaker}-{number}", Path("x.wav"), "yes", speaker, 10.0)
        for speaker, count in seconds.items()
        for number in range(count)
    ]


def seconds_by_speaker(utterances: list[Utterance]) -> dict[str, float]:
    return {
        speaker: sum(u.duration_s for u in utterances if u.speaker == speaker)
        for speaker in ("often", "seldom", "rarely")
    }


def test_speakers_have_the_same_share_as_far_as_they_have_so_much() -> None:
    assert seconds_by_speaker(balanced_subset(corpus(), 0.25)) == {"often": 300, "seldom": 300, "rarely": 300}
    assert seconds_by_speaker(balanced_subset(corpus(), 0.5)) == {"often": 600, "seldom": 600, "rarely": 600}
    assert seconds_by_speaker(balanced_subset(corpus(), 1.0)) == {"often": 2400, "seldom": 600, "rarely": 600}


def test_a_longer_subset_contains_a_shorter_one_in_the_corpus_order() -> None:
    utterances = corpus()
    short, long = (balanced_subset(utterances, hours, seed=3) for hours in (0.2, 0.7))
    assert set(short) < set(long)
    assert [u for u in utterances if u in set(long)] == long
    assert short == balanced_subset(utterances, 0.2, seed=3) != balanced_subset(utterances, 0.2, seed=4)


def test_all_of_a_corpus_is_a_subset() -> None:
    utterances = [Utterance(str(n), Path("x.wav"), "yes", str(n % 3), 0.1 * n) for n in range(1, 50)]
    total_s = sum(utterance.duration_s for utterance in utterances)
    assert balanced_subset(utterances, total_s / 3600) == utterances


@pytest.mark.parametrize("hours", [0, -1, 1.34])
def test_more_than_there_is_cannot_be_had(hours: float) -> None:
    with pytest.raises(CorpusError, match=rf"^{hours:g} h were asked for; it must be .* at most 1\.33 h"):
        balanced_subset(corpus(), hours)


def test_unknown_durations_are_refused() -> None:
    utterances = [*corpus(), Utterance("unmeasured", Path("x.wav"), "yes")]
    with pytest.raises(CorpusError, match="duration of unmeasured is not known"):
        balanced_subset(utterances, 0.1)
