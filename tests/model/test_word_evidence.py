import math

import pytest

from model.decoder import DecodedUnit, WordEvidence
from model.word_evidence import SCORE_SCALE, Reading, attach, weigh

LOG10PROBS = (-1.0, -2.0, -3.0, -0.5)


def test_shares_are_those_of_the_hypotheses_by_their_scores() -> None:
    readings = [
        Reading(("the", "cat", "sat"), (10, 20, 30), -4.0),
        Reading(("the", "hat", "sat"), (10, 21, 30), -6.0),
        Reading(("a", "cat", "sat"), (9, 20, 30), -7.0),
    ]
    one, two, three = (math.exp(SCORE_SCALE * reading.score) for reading in readings)
    total = one + two + three
    the, cat, sat = weigh(readings, LOG10PROBS)
    assert the.share == pytest.approx((one + two) / total)
    assert cat.share == pytest.approx((one + three) / total)
    assert sat.share == pytest.approx(1.0)
    assert shares(the) == {"a": pytest.approx(three / total)}
    assert shares(cat) == {"hat": pytest.approx(two / total)}
    assert shares(sat) == {}
    assert (cat.log10prob, cat.next_log10prob) == (-2.0, -3.0)
    assert (sat.log10prob, sat.next_log10prob) == (-3.0, -0.5)


@pytest.mark.parametrize(
    ("other", "places"),
    [
        (Reading(("the", "can", "it", "sat"), (10, 15, 20, 30), 0.0), ("the", "can it", "sat")),
        (Reading(("the", "catsat"), (10, 30), 0.0), ("the", "catsat", "")),
        (Reading(("the", "catsat"), (16, 30), 0.0), ("the", "", "catsat")),
        (Reading(("the", "cat"), (10, 20), 0.0), ("the", "cat", "")),
        (Reading((), (), 0.0), ("", "", "")),
        (Reading(("the", "cat", "sat", "up"), (10, 20, 30, 34), 0.0), ("the", "cat", "sat")),
    ],
    ids=str,
)
def test_what_is_written_otherwise_stands_where_it_is_spoken(other: Reading, places: tuple[str, ...]) -> None:
    best = Reading(("the", "cat", "sat"), (10, 20, 28), 0.0)
    found = weigh([best, other], LOG10PROBS)
    for word, place, evidence in zip(best.words, places, found, strict=True):
        same = place == word
        assert evidence.share == pytest.approx(1.0 if same else 0.5)
        assert shares(evidence) == ({} if same else {place: pytest.approx(0.5)})


def test_a_word_begins_where_its_evidence_is_put() -> None:
    boundary = 1
    units = [DecodedUnit(id_, at, at, -0.1) for at, id_ in enumerate([boundary, 5, 6, boundary, 7])]
    evidence = weigh([Reading(("de", "f"), (3, 5), 0.0)], (-1.0, -2.0, -3.0))
    attached = attach(units, boundary, evidence)
    assert [unit.evidence for unit in attached] == [None, evidence[0], None, None, evidence[1]]
    assert [unit.id for unit in attached] == [unit.id for unit in units]


def test_the_likeliest_alternatives_come_first_and_equals_by_the_alphabet() -> None:
    readings = [Reading((word,), (9,), score) for word, score in (("a", 0.0), ("d", -2.0), ("c", -1.0), ("b", -2.0))]
    (found,) = weigh(readings, LOG10PROBS)
    assert list(shares(found)) == ["c", "b", "d"]
    assert found.share + sum(shares(found).values()) == pytest.approx(1.0)


def shares(evidence: WordEvidence) -> dict[str, float]:
    """The alternatives' shares, in order."""
    return {alternative.text: alternative.share for alternative in evidence.alternatives}
