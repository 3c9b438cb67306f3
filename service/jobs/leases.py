"""Who works on which job. A lease is held as long as it is renewed; whoever dies loses it, and another takes the job.

Every write of a worker names its lease's token, so one that was away for too long changes nothing any more.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import and_, func, or_, select, update

from model.transcript import Transcript
from service.errors import SERVER_ERROR, openai_error
from service.jobs.database import Database
from service.jobs.ending import end_job
from service.jobs.job import UNFINISHED
from service.jobs.rows import job_of, written_transcript
from service.jobs.schema import jobs
from service.schemas import TranscriptionOptions


@dataclass(frozen=True)
class Lease:
    """The right to work on a job.

    Attributes:
        job_id: the job.
        token: known to nobody else.
        attempt: which one this is, from 1.
        options: what is asked for.
    """

    job_id: str
    token: str
    attempt: int
    options: TranscriptionOptions = field(compare=False)


class LeaseQueue:
    """The jobs that wait for work, oldest first.

    Args:
        database: where they are.
        lease_s: for how long one is held without being renewed, seconds.
        max_attempts: after that many a job has failed.
    """

    def __init__(self, database: Database, lease_s: float, max_attempts: int) -> None:
        self.database = database
        self.lease_s = lease_s
        self._max_attempts = max_attempts

    def claim(self) -> Lease | None:
        """The oldest job that nobody works on, or None. Those that were tried too often fail on the way."""
        with self.database.write() as connection:
            now_s = self.database.now_s(connection)
            waiting = and_(jobs.c.status == "queued", jobs.c.not_before <= now_s)
            abandoned = and_(jobs.c.status == "running", jobs.c.lease_until < now_s)
            oldest = select(jobs).where(or_(waiting, abandoned)).order_by(jobs.c.id).limit(1)
            while (row := connection.execute(oldest.with_for_update(skip_locked=True)).first()) is not None:
                if row.attempts < self._max_attempts:
                    break
                end_job(connection, row.id, "failed", now_s, error=_worn_out(row.attempts))
            else:
                return None
            lease = Lease(row.id, secrets.token_hex(16), row.attempts + 1, job_of(row).options)
            values = {
                "status": "running",
                "attempts": lease.attempt,
                "progress": 0.0,
                "started_at": func.coalesce(jobs.c.started_at, now_s),
                "lease_token": lease.token,
                "lease_until": now_s + self.lease_s,
            }
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(values))
            return lease

    def renew(self, held: Mapping[Lease, float]) -> set[Lease]:
        """Hold leases for another `lease_s`, and note the share of the work done with each.

        Returns:
            Those that are lost: cancelled, or taken over.
        """
        lost = set()
        with self.database.write() as connection:
            until_s = self.database.now_s(connection) + self.lease_s
            for lease, progress in sorted(held.items(), key=lambda entry: entry[0].job_id):
                values = {"lease_until": until_s, "progress": progress}
                if connection.execute(update(jobs).where(*_under(lease)).values(values)).rowcount == 0:
                    lost.add(lease)
        return lost

    def complete(self, lease: Lease, transcript: Transcript) -> bool:
        """End the job with its transcript; False where the lease was lost."""
        text = written_transcript(transcript)
        with self.database.write() as connection:
            now_s = self.database.now_s(connection)
            return bool(end_job(connection, lease.job_id, "completed", now_s, token=lease.token, transcript=text))

    def fail(self, lease: Lease, error: dict[str, Any]) -> bool:
        """End the job with an error object; False where the lease was lost."""
        with self.database.write() as connection:
            now_s = self.database.now_s(connection)
            return bool(end_job(connection, lease.job_id, "failed", now_s, token=lease.token, error=error))

    def is_last(self, lease: Lease) -> bool:
        """Whether the job is not tried again after this attempt."""
        return lease.attempt >= self._max_attempts

    def retry(self, lease: Lease, delay_s: float) -> bool:
        """Let the job be tried again after `delay_s`; False where the lease was lost."""
        return self._queue_again(lease, delay_s, attempts=lease.attempt)

    def hand_back(self, lease: Lease, delay_s: float = 0.0) -> bool:
        """Give the job to others, as if this attempt had not been begun."""
        return self._queue_again(lease, delay_s, attempts=lease.attempt - 1)

    def _queue_again(self, lease: Lease, delay_s: float, attempts: int) -> bool:
        with self.database.write() as connection:
            values = {
                "status": "queued",
                "progress": 0.0,
                "attempts": attempts,
                "not_before": self.database.now_s(connection) + delay_s,
                "lease_token": None,
                "lease_until": None,
            }
            return connection.execute(update(jobs).where(*_under(lease)).values(values)).rowcount > 0


def _under(lease: Lease) -> tuple[Any, ...]:
    return jobs.c.id == lease.job_id, jobs.c.lease_token == lease.token, jobs.c.status.in_(UNFINISHED)


def _worn_out(attempts: int) -> dict[str, Any]:
    message = (
        f"The job was begun {attempts} times (CEPSTRA_JOB_ATTEMPTS) and whatever worked on it ended each time. "
        "The server's log may say why."
    )
    return cast(dict[str, Any], openai_error(message, SERVER_ERROR, code="too_many_attempts")["error"])
