"""Threads that compute do not interrupt others when they wake up."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from model.compute_threads import prefer_throughput

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these policies")


def test_only_the_calling_thread_is_changed() -> None:
    with ThreadPoolExecutor(1, initializer=prefer_throughput) as pool:
        assert pool.submit(os.sched_getscheduler, 0).result() == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_policy_that_was_chosen_stays() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(os.sched_setscheduler, 0, os.SCHED_IDLE, os.sched_param(0)).result()
        pool.submit(prefer_throughput).result()
        assert pool.submit(os.sched_getscheduler, 0).result() == os.SCHED_IDLE


def test_where_it_is_forbidden_the_thread_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    with ThreadPoolExecutor(1, initializer=prefer_throughput) as pool:
        assert pool.submit(os.sched_getscheduler, 0).result() == os.SCHED_OTHER
