from pathlib import Path

import pytest

from training import run_state
from training.errors import ReportError
from training.history import HISTORY_FILE, Pass, read_history


def test_passes_are_read_with_or_without_dev_rates(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"epoch": 1, "loss": 2.5, "steps": 9}\n\n{"epoch": 2, "loss": 1, "dev_wer": 0.5, "dev_cer": 0.25}\n'
    )
    assert read_history(path) == (Pass(1, 2.5), Pass(2, 1.0, 0.5, 0.25))


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "3", '{"epoch": 1}', '{"epoch": 1, "loss": "x"}', '{"epoch": 1, "loss": NaN}',
     '{"epoch": 1, "loss": 1, "dev_wer": null}', '{"epoch": [], "loss": 1}', "\x00\xff"],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(f'{{"epoch": 1, "loss": 1}}\n{line}\n')
    with pytest.raises(ReportError, match=r"history\.jsonl, line 2"):
        read_history(path)


def test_it_is_the_file_that_a_run_writes() -> None:
    assert HISTORY_FILE == run_state.HISTORY_FILE


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_history(tmp_path / "none.jsonl")
