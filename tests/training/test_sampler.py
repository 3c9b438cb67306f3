from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpora import Utterance, read_corpus
from training.sampler import LENGTH_STEP_S, BatchPlan, padded_s, plan_epoch

durations = st.lists(st.floats(0.2, 20.0), min_size=1, max_size=80)


def utterances_of(durations_s: list[float]) -> list[Utterance]:
    return [Utterance(str(i), Path(f"{i}.wav"), "A", "", duration) for i, duration in enumerate(durations_s)]


def batch_s(plan: BatchPlan, utterances: list[Utterance]) -> float:
    return padded_s(max(utterances[i].duration_s / speed for i, speed in plan.items)) * len(plan.items)


@given(durations, st.integers(0, 3), st.integers(0, 5))
def test_every_utterance_stands_in_exactly_one_batch_within_the_bound(
    durations_s: list[float], seed: int, epoch: int
) -> None:
    utterances = utterances_of(durations_s)
    plans = plan_epoch(utterances, seed=seed, epoch=epoch, max_batch_s=40.0, speeds=(0.9, 1.0, 1.1))
    assert Counter(i for plan in plans for i, _ in plan.items) == Counter(range(len(utterances)))
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
    longest = [max(utterances[i].duration_s for i, _ in plan.items) for plan in plans]
    assert all(later >= 0.9 * earlier for earlier, later in pairwise(longest))
    shuffled = plan_epoch(utterances, seed=1, epoch=0, max_batch_s=60.0, shortest_first=False)
    assert shuffled != plans
    assert sorted(plan.items for plan in shuffled) == sorted(plan.items for plan in plans)


def test_padding_stays_under_ten_per_cent_on_a_real_corpus(speech_data: Path) -> None:
    utterances = read_corpus(speech_data / "librispeech" / "manifest.tsv")
    plans = plan_epoch(utterances, seed=1, epoch=3, max_batch_s=150.0, speeds=(0.9, 1.0, 1.1))
    spoken = sum(utterances[i].duration_s / speed for plan in plans for i, speed in plan.items)
    assert 1 - spoken / sum(batch_s(plan, utterances) for plan in plans) < 0.10


def test_no_speeds_is_refused() -> None:
    with pytest.raises(IndexError):
        plan_epoch(utterances_of([1.0]), seed=1, epoch=0, max_batch_s=10.0, speeds=())


@given(st.floats(0.01, 100.0))
def test_rows_are_padded_to_whole_steps_and_never_by_more_than_one(duration_s: float) -> None:
    steps = padded_s(duration_s) / LENGTH_STEP_S
    assert steps == pytest.approx(round(steps))
    assert 0 <= padded_s(duration_s) - duration_s < LENGTH_STEP_S + 1e-9
