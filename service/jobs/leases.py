"""Who works on which job. A lease is held as long as it is renewed; whoever dies loses it, and another takes the job.

Every write of a worker names its lease's token, so one that was away for too long changes nothing any more. Owners take
turns: one who sends a thousand jobs does not keep those of others waiting for all of them.
"""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from model.transcript import Transcript
from service.errors import SERVER_ERROR, openai_error
from service.jobs.database import Database
from service.jobs.ending import end_job
from service.jobs.job import UNFINISHED
from service.jobs.rows import AnyRow, job_of, written_transcript
from service.jobs.schema import jobs
from service.schemas import TranscriptionOptions

LONGEST_DELAY_S = 60.0  # before a job is tried again


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
    """The jobs that wait for work: owners in turn, of each owner the oldest first.

    Args:
        database: where they are.
        lease_s: for how long one is held without being renewed, seconds.
        max_attempts: after that many a job has failed.
    """

    def __init__(self, database: Database, lease_s: float, max_attempts: int) -> None:
        self.database = database
        self.lease_s = lease_s
        self._max_attempts = max_attempts
        self._rounds = itertools.count(1)
        self._served: dict[str, int] = {}  # owner → the round in which one of its jobs was taken here last

    def claim(self) -> Lease | None:
        """A job that nobody works on, or None. Those that were tried too often fail on the way.

        It is the oldest of the owner with the fewest jobs in work, and among those of whoever was served here least
        recently.
        """
        with self.database.write() as connection:
            now_s = self.database.now_s(connection)
            while (row := self._next(connection, now_s)) is not None:
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

    def _next(self, connection: Connection, now_s: float) -> AnyRow | None:
        """The job that is to be taken, locked until the end of the transaction."""
        # Later than any delay: it was written before the clock was set back.
        due = or_(jobs.c.not_before <= now_s, jobs.c.not_before > now_s + LONGEST_DELAY_S)
        waiting = and_(jobs.c.status == "queued", due)
        abandoned = and_(jobs.c.status == "running", jobs.c.lease_until < now_s)
        free: ColumnElement[bool] = or_(waiting, abandoned)
        first_ids = select(jobs.c.owner, func.min(jobs.c.id)).where(free).group_by(jobs.c.owner)
        first_id = {row[0]: row[1] for row in connection.execute(first_ids)}
        held = and_(jobs.c.status == "running", jobs.c.lease_until >= now_s)
        counts = select(jobs.c.owner, func.count()).where(held).group_by(jobs.c.owner)
        in_work = {row[0]: row[1] for row in connection.execute(counts)}
        self._served = {owner: served for owner, served in self._served.items() if owner in first_id}

        def order(owner: str) -> tuple[int, int, str]:
            return in_work.get(owner, 0), self._served.get(owner, 0), first_id[owner]

        for owner in sorted(first_id, key=order):
            oldest = select(jobs).where(free, jobs.c.owner == owner).order_by(jobs.c.id).limit(1)
            row = connection.execute(oldest.with_for_update(skip_locked=True)).first()
            if row is not None:  # otherwise others are just taking all of this owner's
                self._served[owner] = next(self._rounds)
                return row
        return None

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
        """Let the job be tried again after `delay_s`, LONGEST_DELAY_S at most; False where the lease was lost."""
        return self._queue_again(lease, min(delay_s, LONGEST_DELAY_S), attempts=lease.attempt)

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
