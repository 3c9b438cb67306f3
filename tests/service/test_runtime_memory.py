"""The fastest runtime is remembered in the state directory, and nothing depends on it."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.runtime_memory import FILE, MOST_REMEMBERED, RuntimeMemory


def test_what_one_remembers_another_recalls(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    assert RuntimeMemory(state_dir).recall("here") is None
    assert not state_dir.exists()
    RuntimeMemory(state_dir).remember("here", "onnx")
    RuntimeMemory(state_dir).remember("there", "torch")
    RuntimeMemory(state_dir).remember("here", "onnx-int8")
    memory = RuntimeMemory(state_dir)
    assert (memory.recall("here"), memory.recall("there"), memory.recall("elsewhere")) == ("onnx-int8", "torch", None)


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    memory = RuntimeMemory(tmp_path)
    for number in range(MOST_REMEMBERED + 2):
        memory.remember(str(number), "torch")
    assert [memory.recall(key) for key in ("0", "1", "2", str(MOST_REMEMBERED + 1))] == [None, None, "torch", "torch"]


def test_many_remember_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: RuntimeMemory(tmp_path).remember(str(number), "onnx"), range(24)))
    assert all(RuntimeMemory(tmp_path).recall(str(number)) == "onnx" for number in range(24))


@pytest.mark.parametrize("contents", ["", "[]", "{", "1", '{"here": 5}', "[" * 100_000, "\udcff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, contents: str) -> None:
    (tmp_path / FILE).write_text(contents, errors="surrogateescape")
    memory = RuntimeMemory(tmp_path)
    assert memory.recall("here") is None
    memory.remember("here", "onnx")
    assert memory.recall("here") == "onnx"


def test_where_nothing_can_be_written_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file")
    with caplog.at_level(logging.INFO, "cepstra.service"):
        RuntimeMemory(tmp_path / "state").remember("here", "onnx")
    assert RuntimeMemory(tmp_path / "state").recall("here") is None
    assert "will be measured again" in caplog.text
