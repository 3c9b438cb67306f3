"""A run's `history.jsonl` read back: what its passes reached."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from training.errors import ReportError

# `training.run_state` writes it; its name stands here too, so that reading it does not take Lightning.
HISTORY_FILE = "history.jsonl"


@dataclass(frozen=True)
class Pass:
    """One pass over the training data.

    Attributes:
        epoch: its number, from 1.
        loss: mean CTC loss of the pass, nats for each unit.
        dev_wer, dev_cer: of the dev corpus after it, as fractions; None where it was not evaluated.
    """

    epoch: int
    loss: float
    dev_wer: float | None = None
    dev_cer: float | None = None


def read_history(path: str | os.PathLike[str]) -> tuple[Pass, ...]:
    """The passes of a run, in file order.

    Raises:
        ReportError: a line is not JSON, or lacks a number.
        OSError: the file cannot be opened.
    """
    passes = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rates = (_finite(row[key]) if key in row else None for key in ("dev_wer", "dev_cer"))
            passes.append(Pass(int(row["epoch"]), _finite(row["loss"]), *rates))
        except (ValueError, KeyError, TypeError) as error:
            raise ReportError(
                f"{path}, line {number}: needs epoch and loss, and perhaps dev_wer and dev_cer, as numbers: {error!r}"
            ) from error
    return tuple(passes)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)
