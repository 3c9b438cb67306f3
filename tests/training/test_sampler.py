import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpora import Utterance, read_corpus
from training.sampler import LENGTH_STEP_S, BatchPlan, Row, join_speakers, join_targets, padded_s, plan_epoch

durations = st.lists(st.floats(0.2, 20.0), min_size=1, max_size=80)


def utterances_of(durations_s: list[float]) -> list[Utterance]:
    return [Utterance(str(i), Path(f"{i}.wav"), "A", "", duration) for i, duration in enumerate(durations_s)]


def batch_s(plan: BatchPlan, utterances: list[Utterance]) -> float:
    return padded_s(max(utterances[i].duration_s / speed for (i,), speed in plan.items)) * len(plan.items)


@given(durations, st.integers(0, 3), st.integers(0, 5))
def test_every_utterance_stands_in_exactly_one_batch_within_the_bound(
    durations_s: list[float], seed: int, epoch: int
) -> None:
    utterances = utterances_of(durations_s)
    plans = plan_epoch(utterances, seed=seed, epoch=epoch, max_batch_s=40.0, speeds=(0.9, 1.0, 1.1))
    assert Counter(i for plan in plans for row, _ in plan.items for i in row) == Counter(range(len(utterances)))
    assert all(batch_s(plan, utterances) <= 40.0 for plan in plans)


@given(durations, st.integers(1, 4))
def test_shards_share_out_a_batch(durations_s: list[float], processes: int) -> None:
    for plan in plan_epoch(utterances_of(durations_s), seed=1, epoch=1, max_batch_s=40.0):
        shards = [plan.shard(rank, processes) for rank in range(processes)]
        assert sorted(item for shard in shards for item in shard.items) == sorted(plan.items)


def test_seed_and_epoch_determine_the_plans() -> None:
    utterances = utterances_of([1.0 + 0.1 * i for i in range(100)])

    def plan(seed: int, epoch: int) -> list[BatchPlan]:
        return plan_epoch(utterances, seed=seed, epoch=epoch, max_batch_s=30.0, speeds=(0.9, 1.1))

    assert plan(1, 1) == plan(1, 1)
    assert plan(1, 1) != plan(1, 2)
    assert plan(1, 1) != plan(2, 1)


def test_the_first_epoch_goes_from_short_to_long() -> None:
    utterances = utterances_of([float(1 + i % 17) for i in range(200)])
    plans = plan_epoch(utterances, seed=1, epoch=0, max_batch_s=60.0)
    longest = [max(utterances[i].duration_s for (i,), _ in plan.items) for plan in plans]
    assert all(later >= 0.9 * earlier for earlier, later in pairwise(longest))
    shuffled = plan_epoch(utterances, seed=1, epoch=0, max_batch_s=60.0, shortest_first=False)
    assert shuffled != plans
    assert sorted(plan.items for plan in shuffled) == sorted(plan.items for plan in plans)


def test_padding_stays_under_ten_per_cent_on_a_real_corpus(speech_data: Path) -> None:
    utterances = read_corpus(speech_data / "librispeech" / "manifest.tsv")
    plans = plan_epoch(utterances, seed=1, epoch=3, max_batch_s=150.0, speeds=(0.9, 1.0, 1.1))
    spoken = sum(utterances[i].duration_s / speed for plan in plans for (i,), speed in plan.items)
    assert 1 - spoken / sum(batch_s(plan, utterances) for plan in plans) < 0.10


spoken = st.lists(st.tuples(st.floats(0.2, 12.0), st.sampled_from(["ann", "bob", ""])), min_size=1, max_size=60)


@given(spoken, st.floats(0.0, 1.0), st.integers(0, 5))
def test_joined_utterances_are_of_one_speaker_and_within_the_bounds(
    durations_and_speakers: list[tuple[float, str]], probability: float, seed: int
) -> None:
    utterances = [
        Utterance(str(i), Path(f"{i}.wav"), "A", speaker, duration_s)
        for i, (duration_s, speaker) in enumerate(durations_and_speakers)
    ]

    def join(rng: random.Random) -> list[Row]:
        return join_speakers(
            utterances, probability=probability, longest_s=20.0, fits=lambda row: len(row) < 4, rng=rng
        )

    rows = join(random.Random(seed))
    assert Counter(index for row in rows for index in row) == Counter(range(len(utterances)))
    for row in rows:
        assert len(row) < 4
        assert len(row) == 1 or sum(utterances[index].duration_s for index in row) <= 20.0
        assert len({utterances[index].speaker for index in row}) == 1
        assert len(row) == 1 or utterances[row[0]].speaker
    plans = plan_epoch(utterances, seed=seed, epoch=1, max_batch_s=40.0, join=join)
    assert Counter(index for plan in plans for row, _ in plan.items for index in row) == Counter(range(len(utterances)))
    for plan in plans:
        longest_s = max(sum(utterances[index].duration_s for index in row) for row, _ in plan.items)
        assert padded_s(longest_s) * len(plan.items) <= 40.0


def test_how_many_are_joined_is_what_the_probability_says() -> None:
    utterances = [Utterance(str(i), Path(f"{i}.wav"), "A", "ann", 1.0) for i in range(3000)]

    def rows(probability: float) -> list[Row]:
        return join_speakers(
            utterances, probability=probability, longest_s=1e9, fits=lambda row: True, rng=random.Random(3)
        )

    assert len(rows(0.0)) == 3000
    assert len(rows(1.0)) == 1
    assert len(rows(0.25)) == pytest.approx(2250, rel=0.05)
    assert rows(0.25)[0] != tuple(range(len(rows(0.25)[0])))


def test_targets_are_joined_with_a_boundary_between_them() -> None:
    assert join_targets([[5, 6]], 1) == [5, 6]
    assert join_targets([[5, 6], [7], [8]], 1) == [5, 6, 1, 7, 1, 8]


def test_no_speeds_is_refused() -> None:
    with pytest.raises(IndexError):
        plan_epoch(utterances_of([1.0]), seed=1, epoch=0, max_batch_s=10.0, speeds=())


@given(st.floats(0.01, 100.0))
def test_rows_are_padded_to_whole_steps_and_never_by_more_than_one(duration_s: float) -> None:
    steps = padded_s(duration_s) / LENGTH_STEP_S
    assert steps == pytest.approx(round(steps))
    assert 0 <= padded_s(duration_s) - duration_s < LENGTH_STEP_S + 1e-9
