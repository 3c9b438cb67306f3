"""Processors, a container's share of them by either version of control groups, and how many workers they get."""

from pathlib import Path

import pytest

from service.processors import default_workers, processor_limit, usable_processors


@pytest.mark.parametrize(
    ("cpu_max", "limit"),
    [("max 100000\n", None), ("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1), ("nonsense", None)],
)
def test_version_2(tmp_path: Path, cpu_max: str, limit: int | None) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)
    assert processor_limit(tmp_path) == limit


@pytest.mark.parametrize(("quota", "limit"), [("-1\n", None), ("400000\n", 4), ("50000\n", 1)])
def test_version_1(tmp_path: Path, quota: str, limit: int | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert processor_limit(tmp_path) == limit


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert processor_limit(tmp_path / "missing") is None


@pytest.mark.parametrize(("n_processors", "workers"), [(1, 4), (2, 4), (3, 6), (16, 32)])
def test_workers_grow_with_the_processors(monkeypatch: pytest.MonkeyPatch, n_processors: int, workers: int) -> None:
    monkeypatch.setattr("service.processors.processors", lambda: n_processors)
    monkeypatch.setattr("service.processors.processor_limit", lambda: None)
    assert default_workers() == workers


def test_a_containers_share_counts_where_it_is_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.processors.processors", lambda: 16)
    monkeypatch.setattr("service.processors.processor_limit", lambda: 3)
    assert (usable_processors(), default_workers()) == (3, 6)
