"""A job as clients see it: its object, its states, its name."""

import re
import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from service.schemas import TranscriptionOptions

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
UNFINISHED: tuple[Status, ...] = ("queued", "running")

_ID = re.compile(r"job_[0-9a-f]{32}")


@dataclass(frozen=True)
class Job:
    """One audio to transcribe.

    Attributes:
        id: its name, which is its audio file's name too; ids sort by the time at which they were made.
        owner: id of the key that made it (`Key.owner`); empty where there are no keys.
        status: queued → running → completed, failed or cancelled; a running one may go back to queued.
        progress: share of the work done, 0..1.
        attempts: how often work on it was begun, not counting the times it was handed back in good order.
        created_at_s, started_at_s, finished_at_s: Unix seconds; None before that.
        error: OpenAI's error object of a failed one.
        options: what was asked for with it.
    """

    id: str
    owner: str
    status: Status
    progress: float
    attempts: int
    created_at_s: float
    started_at_s: float | None
    finished_at_s: float | None
    error: dict[str, Any] | None
    options: TranscriptionOptions

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status not in UNFINISHED

    def as_object(self) -> dict[str, Any]:
        """The job object of the API; times in whole Unix seconds."""
        return {
            "id": self.id,
            "object": "transcription.job",
            "status": self.status,
            "progress": round(float(self.progress), 3),
            "attempts": self.attempts,
            "created_at": int(self.created_at_s),
            "started_at": _whole(self.started_at_s),
            "finished_at": _whole(self.finished_at_s),
            "error": self.error,
        }


def new_job_id() -> str:
    """A name that nobody guesses and that sorts after those of earlier milliseconds."""
    return f"job_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_job_id(text: str) -> bool:
    """Whether `text` has the form of a job's name."""
    return _ID.fullmatch(text) is not None


def _whole(moment_s: float | None) -> int | None:
    return None if moment_s is None else int(moment_s)
