"""Progress of a training run on stderr: a bar with ETA, loss and running WER; plain lines where it is no terminal."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressReport:
    """Shows what a run does; with `quiet`, nothing at all."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._bar: Progress | None = None
        self._loss = self._wer = float("nan")
        self._audio_s, self._began = 0.0, time.monotonic()
        self._epoch = self._epochs = 0

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, highlight=False)

    def start_epoch(self, epoch: int, epochs: int, batches: int, done: int) -> None:
        """A pass over `batches` batches begins, `done` of which were done before."""
        self._epoch, self._epochs = epoch, epochs
        self._audio_s, self._began = 0.0, time.monotonic()
        if self._console.is_terminal:
            columns = (
                TextColumn("pass {task.fields[epoch]}/{task.fields[epochs]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn(
                    "loss {task.fields[loss]:.3f}  WER {task.fields[wer]:.1%}  {task.fields[rate]:.0f}× real time"
                ),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            task_fields = {
                "epoch": epoch + 1,
                "epochs": epochs,
                "loss": self._loss,
                "wer": self._wer,
                "rate": 0.0,
            }
            self._bar.add_task("", total=batches, completed=done, **task_fields)  # type: ignore[arg-type]  # free fields
            self._bar.start()

    def step(self, loss: float, audio_s: float) -> None:
        """One batch of `audio_s` seconds is done."""
        self._loss = loss if self._loss != self._loss else 0.95 * self._loss + 0.05 * loss
        self._audio_s += audio_s
        if self._bar is not None:
            task = self._bar.tasks[0].id
            self._bar.update(task, advance=1, loss=self._loss, wer=self._wer, rate=self._rate())

    def wer(self, rate: float) -> None:
        """WER of a training batch, greedy, as a fraction."""
        self._wer = rate if self._wer != self._wer else 0.7 * self._wer + 0.3 * rate

    def end_epoch(self, line: dict[str, Any]) -> None:
        """A pass is over; `line` is what the history keeps of it."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        numbers = "  ".join(f"{key} {value:.4g}" for key, value in line.items() if key != "epoch")
        self.say(
            f"pass {self._epoch + 1}/{self._epochs}  {numbers}  running WER {self._wer:.1%}  "
            f"{self._rate():.0f}× real time"
        )

    def _rate(self) -> float:
        return self._audio_s / max(1e-9, time.monotonic() - self._began)
