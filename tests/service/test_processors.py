"""A container's share of processor time is counted in processors, by either version of control groups."""

from pathlib import Path

import pytest

from service.processors import processor_limit


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
