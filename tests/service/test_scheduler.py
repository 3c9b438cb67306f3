"""Places and lines: who runs, who waits, who is refused."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest

from model.errors import WorkCancelledError
from model.turns import PATIENT_AFTER_FRAMES, Rank, current_turn
from service.errors import QueueFullError
from service.scheduled import Job
from service.scheduler import SENDERS_A_PLACE, Scheduler
from tests.waiting import wait_until

LIMIT_S = 60


class Held:
    """Work that goes on until it is let go, and asks meanwhile whether it is wanted."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()
        self.released = 0

    def __call__(self, job: Job[int]) -> int:
        self.began.set()
        while not self.go.wait(0.01):
            job.report(0.5)
        return 42

    def release(self) -> None:
        self.released += 1

    async def has_begun(self) -> bool:
        return await asyncio.to_thread(self.began.wait, LIMIT_S)


def scheduled(test: Callable[[Scheduler], Awaitable[None]], **options: Any) -> None:
    """Run a test with a scheduler of two workers and one more who may wait."""

    async def run() -> None:
        scheduler = Scheduler(options.pop("workers", 2), options.pop("max_waiting", 1), **options)
        try:
            await asyncio.wait_for(test(scheduler), LIMIT_S)
        finally:
            await scheduler.close()

    asyncio.run(run())


def test_a_line_is_bounded_and_moves_up() -> None:
    async def test(scheduler: Scheduler) -> None:
        works = [Held() for _ in range(4)]
        jobs = [scheduler.submit(work, release=work.release) for work in works[:3]]
        assert await works[0].has_begun() and await works[1].has_begun()
        load = scheduler.load()
        assert (load.running[Rank.INTERACTIVE], load.waiting[Rank.INTERACTIVE]) == (2, 1)
        assert load.oldest_s > 0
        with pytest.raises(QueueFullError, match="1 requests are waiting, as many as may") as caught:
            scheduler.submit(works[3], release=works[3].release)
        assert (caught.value.retry_after_s or 0) >= 1
        assert works[3].released == 1
        assert not works[2].began.is_set()
        works[0].go.set()
        assert await jobs[0].finished == 42
        assert await works[2].has_begun()
        works[1].go.set()
        works[2].go.set()
        assert [await job.finished for job in jobs] == [42, 42, 42]
        assert [work.released for work in works] == [1, 1, 1, 1]
        assert scheduler.load().oldest_s == 0

    scheduled(test)


def test_who_leaves_the_line_never_runs_and_makes_room() -> None:
    async def test(scheduler: Scheduler) -> None:
        works = [Held() for _ in range(4)]
        jobs = [scheduler.submit(work, release=work.release) for work in works[:3]]
        jobs[2].abandon()
        assert works[2].released == 1
        jobs.append(scheduler.submit(works[3]))
        jobs[0].abandon()
        assert await works[3].has_begun()  # on the place of one that was told to stop
        assert works[0].released == 1
        assert isinstance(jobs[0].future.exception(LIMIT_S), WorkCancelledError)
        assert not works[2].began.is_set()

    scheduled(test)


def test_long_work_gives_its_place_back() -> None:
    finish = threading.Event()

    def long(job: Job[int]) -> int:
        assert current_turn() is job.turn
        job.turn.attain(PATIENT_AFTER_FRAMES)
        finish.wait(LIMIT_S)
        return 1

    async def test(scheduler: Scheduler) -> None:
        first = scheduler.submit(long)
        second = Held()
        scheduler.submit(second)
        assert await second.has_begun()  # with one worker, while the first still runs
        assert first.future.running()
        with pytest.raises(QueueFullError):  # it counts as being in the house all the same
            scheduler.submit(Held())
        finish.set()
        assert await first.finished == 1

    scheduled(test, workers=1)


def test_classes_do_not_wait_for_each_other() -> None:
    async def test(scheduler: Scheduler) -> None:
        works = [Held() for _ in range(6)]
        ranks = [Rank.BACKGROUND, Rank.BACKGROUND, Rank.INTERACTIVE, Rank.INTERACTIVE, Rank.LIVE, Rank.LIVE]
        for work, rank in zip(works, ranks, strict=True):
            scheduler.submit(work, priority=rank)
        for index in (0, 2, 4, 5):
            assert await works[index].has_begun()
        assert not works[1].began.is_set() and not works[3].began.is_set()
        assert await scheduler.run(lambda: current_turn().rank) == Rank.LIVE
        for work in works:
            work.go.set()

    scheduled(test, workers=1)


def test_one_key_cannot_take_all_places() -> None:
    async def test(scheduler: Scheduler) -> None:
        works = [Held() for _ in range(3)]
        first = scheduler.submit(works[0], key="ann")
        with pytest.raises(QueueFullError, match="1 requests of the key 'ann'") as caught:
            scheduler.submit(works[1], key="ann")
        assert caught.value.code == "concurrency_limit"
        assert has_room(scheduler, "bob")
        assert has_room(scheduler)
        works[0].go.set()
        await first.finished
        scheduler.submit(works[1], key="ann").abandon()
        await asyncio.to_thread(wait_until, lambda: has_room(scheduler, "ann"))  # a thread may have begun it already

    scheduled(test, max_per_key=1)


def has_room(scheduler: Scheduler, key: str | None = None, max_of_key: int | None = None) -> bool:
    try:
        with scheduler.reserve(key, max_of_key):
            return True
    except QueueFullError:
        return False


def test_a_key_may_have_a_limit_of_its_own() -> None:
    async def test(scheduler: Scheduler) -> None:
        work = Held()
        scheduler.submit(work, key="ann", max_of_key=2)
        assert has_room(scheduler, "ann", 2)
        with pytest.raises(QueueFullError, match="its own limit"):
            scheduler.submit(work, key="ann", max_of_key=1)
        with pytest.raises(QueueFullError, match="CEPSTRA_MAX_PER_KEY"):
            scheduler.submit(work, key="ann")
        work.go.set()

    scheduled(test, max_per_key=1)


def test_what_is_being_sent_has_a_place() -> None:
    async def test(scheduler: Scheduler) -> None:
        work = Held()
        with scheduler.reserve("ann") as ann, scheduler.reserve("bob") as place, scheduler.reserve("bob") as other:
            assert has_room(scheduler)  # little of it has come
            for one in (ann, place, other, other):
                one.hold()
            with pytest.raises(QueueFullError, match="1 requests are waiting"):
                scheduler.submit(work)
            assert not has_room(scheduler)
            job = scheduler.submit(work, key="bob", place=place)  # it has room, since it had asked before
            assert not has_room(scheduler)
        assert await work.has_begun()
        assert has_room(scheduler, "bob", 2) and not has_room(scheduler, "bob", 1)
        work.go.set()
        await job.finished
        assert has_room(scheduler, "bob", 1)

    scheduled(test)


def test_small_uploads_on_their_way_are_bounded_too_of_a_key_and_of_all() -> None:
    async def test(scheduler: Scheduler) -> None:
        with ExitStack() as sending:
            for _ in range(SENDERS_A_PLACE):
                sending.enter_context(scheduler.reserve("ann", 1))
            with pytest.raises(QueueFullError, match=f"{SENDERS_A_PLACE} uploads are being sent") as caught:
                sending.enter_context(scheduler.reserve("ann", 1))
            assert caught.value.code == "concurrency_limit" and caught.value.retry_after_s
            for _ in range(2 * SENDERS_A_PLACE):
                sending.enter_context(scheduler.reserve("bob"))
            with pytest.raises(QueueFullError, match=f"{3 * SENDERS_A_PLACE} uploads are being sent") as caught:
                sending.enter_context(scheduler.reserve())
            assert caught.value.code == "queue_full"
        assert has_room(scheduler) and has_room(scheduler, "ann", 1)

    scheduled(test)


def test_jobs_that_are_being_sent_are_counted_by_themselves() -> None:
    async def test(scheduler: Scheduler) -> None:
        with ExitStack() as sending:
            for _ in range(3):
                sending.enter_context(scheduler.reserve(rank=Rank.BACKGROUND)).hold()
            with pytest.raises(QueueFullError, match="3 jobs are being sent"), scheduler.reserve(rank=Rank.BACKGROUND):
                pass
            assert has_room(scheduler)
        with scheduler.reserve(rank=Rank.BACKGROUND):
            pass

    scheduled(test)


def test_keys_get_places_in_turn() -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[Job[int]], int]:
        def work(job: Job[int]) -> int:
            order.append(name)
            return 0

        return work

    async def test(scheduler: Scheduler) -> None:
        first = Held()
        scheduler.submit(first, key="ann")
        assert await first.has_begun()
        names = ("ann1", "ann2", "ann3", "bob1", "bob2", "cy1")
        jobs = [scheduler.submit(noting(name), key=name.rstrip("123")) for name in names]
        jobs[1].abandon()
        first.go.set()
        for job in (jobs[0], *jobs[2:]):
            await job.finished

    scheduled(test, workers=1, max_waiting=6)
    assert order == ["ann1", "bob1", "cy1", "ann3", "bob2"]


def test_an_error_of_the_work_is_its_result() -> None:
    def fail(job: Job[int]) -> int:
        raise ZeroDivisionError

    async def test(scheduler: Scheduler) -> None:
        with pytest.raises(ZeroDivisionError):
            await scheduler.submit(fail).finished
        assert scheduler.load().running[Rank.INTERACTIVE] == 0

    scheduled(test)
