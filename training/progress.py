"""Progress of a training run on stderr: a bar with ETA, loss and running WER; plain lines where it is no terminal."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class ProgressReport:
    """Shows what a run does; with `quiet`, nothing at all.

    Args:
        quiet: show nothing.
        console: where to; stderr by default.
        clock: seconds that never go back.
    """

    def __init__(
        self, *, quiet: bool = False, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(stderr=True, quiet=quiet)
        self._clock = clock
        self._bar: Progress | None = None
        self._loss: float | None = None
        self._wer: float | None = None
        self._epoch = self._epochs = self._batches = self._done = 0
        self._audio_s = self._began_s = self._run_began_s = 0.0
        self._share_at_start: float | None = None  # of the run that was done when this process took it up

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def start_epoch(self, epoch: int, epochs: int, batches: int, done: int) -> None:
        """Pass number `epoch` (from 0) of `epochs` begins, over `batches` batches, `done` of which were done before."""
        self._epoch, self._epochs, self._batches, self._done = epoch, epochs, batches, done
        self._audio_s, self._began_s = 0.0, self._clock()
        if self._share_at_start is None:
            self._share_at_start, self._run_began_s = self._share(), self._began_s
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[now]}"),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task(f"pass {epoch + 1}/{epochs}", total=batches, completed=done, now=self._now())
            self._bar.start()

    def step(self, loss: float, audio_s: float) -> None:
        """One batch of `audio_s` seconds is done."""
        self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        self._audio_s += audio_s
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._bar.tasks[0].id, advance=1, now=self._now())

    def wer(self, rate: float) -> None:
        """WER of a training batch, greedy, as a fraction."""
        self._wer = rate if self._wer is None else 0.7 * self._wer + 0.3 * rate

    def end_epoch(self, line: dict[str, Any]) -> None:
        """A pass is over; `line` is what the history keeps of it."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        numbers = "  ".join(f"{key} {value:.4g}" for key, value in line.items() if key != "epoch")
        self.say(f"pass {self._epoch + 1}/{self._epochs}  {numbers}  {self._now()}")

    def _share(self) -> float:
        return (self._epoch + self._done / max(1, self._batches)) / max(1, self._epochs)

    def _now(self) -> str:
        """Time left of the whole run, smoothed loss and WER, speed; what is not known yet is left out."""
        parts = []
        done = self._share() - (self._share_at_start or 0.0)
        if done > 0:
            left_s = (self._clock() - self._run_began_s) / done * (1 - self._share())
            parts.append(f"{timedelta(seconds=round(left_s))} left")
        if self._loss is not None:
            parts.append(f"loss {self._loss:.3f}")
        if self._wer is not None:
            parts.append(f"running WER {self._wer:.1%}")
        if self._audio_s:
            parts.append(f"{self._audio_s / max(1e-9, self._clock() - self._began_s):.0f}× real time")
        return "  ".join(parts)
