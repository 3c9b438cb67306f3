"""Webhook messages: written in the transaction that ends a job, and kept with every attempt to deliver them.

pending → delivered, or failed after too many tries; either goes back to pending when it is replayed
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from service.errors import JobNotFoundError
from service.jobs.database import Database
from service.jobs.job import Job
from service.jobs.rows import AnyRow
from service.jobs.schema import deliveries, delivery_attempts, jobs

CLAIM_S = 60.0  # longer than any attempt: who has not noted its outcome by then is dead, and it is tried again

MAX_OF_OWNER = 2  # attempts that go on at once while others wait, who are not to be held up by a slow receiver

GONE = 410  # the receiver's way to say: never again


@dataclass(frozen=True)
class Attempt:
    """One message to be sent now.

    Attributes:
        id: of the message.
        number: of the attempt, from 1.
        tries: attempts since it was made or replayed, this one among them.
        url: where to.
        body: what, JSON.
    """

    id: str
    number: int
    tries: int
    url: str
    body: str


def enqueue(connection: Connection, job: Job, url: str, now_s: float) -> None:
    """Write the message that `job` has ended, inside the transaction that ends it."""
    event_type = f"transcription.job.{job.status}"
    moment = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"type": event_type, "timestamp": moment, "data": job.as_object()}
    connection.execute(
        insert(deliveries).values(
            id=f"msg_{secrets.token_hex(16)}",
            job_id=job.id,
            type=event_type,
            url=url,
            body=json.dumps(body, separators=(",", ":")),
            status="pending",
            tries=0,
            created_at=now_s,
            next_at=now_s,
        )
    )


class Outbox:
    """The messages.

    Args:
        database: where they are.
        max_tries: so often is one sent, at most.
        retry_s: pause after the first failure, seconds; each later one is twice as long.
    """

    def __init__(self, database: Database, max_tries: int, retry_s: float) -> None:
        self.database = database
        self._max_tries = max_tries
        self._retry_s = retry_s

    def claim(self) -> Attempt | None:
        """A message that is due, now to be sent and noted with `record`; None where there is none that may be sent.

        It is the one that has waited longest of the owner with the fewest on their way.
        """
        with self.database.write() as connection:
            now_s = self.database.now_s(connection)
            while (row := self._next(connection, now_s)) is not None:
                if row.tries < self._max_tries:
                    break
                self._change(connection, row.id, status="failed")  # the process died in the last try
            else:
                return None
            count = select(func.count()).where(delivery_attempts.c.delivery_id == row.id)
            number = connection.execute(count).scalar_one() + 1
            connection.execute(insert(delivery_attempts).values(delivery_id=row.id, number=number, at=now_s))
            self._change(connection, row.id, tries=row.tries + 1, next_at=now_s + CLAIM_S)
            return Attempt(row.id, number, row.tries + 1, row.url, row.body)

    def _next(self, connection: Connection, now_s: float) -> AnyRow | None:
        """The message that is to be sent, locked until the end of the transaction."""
        pending = deliveries.c.status == "pending"
        # What was never tried is due whatever the clock says, which may have been set back since.
        due = pending, or_(deliveries.c.next_at <= now_s, deliveries.c.tries == 0)
        of_job = deliveries.c.job_id == jobs.c.id
        longest = select(jobs.c.owner, func.min(deliveries.c.next_at)).where(of_job, *due).group_by(jobs.c.owner)
        waits_since_s = {row[0]: row[1] for row in connection.execute(longest)}
        begun = delivery_attempts.c.delivery_id == deliveries.c.id, delivery_attempts.c.duration_s.is_(None)
        going = of_job, pending, *begun, delivery_attempts.c.at > now_s - CLAIM_S
        counts = select(jobs.c.owner, func.count()).where(*going).group_by(jobs.c.owner)
        on_their_way = {row[0]: row[1] for row in connection.execute(counts)}

        def order(owner: str) -> tuple[int, float]:
            return on_their_way.get(owner, 0), waits_since_s[owner]

        for owner in sorted(waits_since_s, key=order):
            if len(waits_since_s) > 1 and on_their_way.get(owner, 0) >= MAX_OF_OWNER:
                continue
            first = select(deliveries).join(jobs, of_job).where(*due, jobs.c.owner == owner)
            oldest = first.order_by(deliveries.c.next_at).limit(1)
            row = connection.execute(oldest.with_for_update(skip_locked=True, of=deliveries)).first()
            if row is not None:  # otherwise others are just taking all of this owner's
                return row
        return None

    def record(self, attempt: Attempt, duration_s: float, status_code: int | None, error: str | None) -> None:
        """Note how an attempt went: the receiver's status code, or why there was none."""
        with self.database.write() as connection:
            this = delivery_attempts.c.delivery_id == attempt.id, delivery_attempts.c.number == attempt.number
            outcome = {"duration_s": duration_s, "status_code": status_code, "error": error}
            connection.execute(update(delivery_attempts).where(*this).values(outcome))
            if status_code is not None and 200 <= status_code < 300:
                self._change(connection, attempt.id, status="delivered")
            elif status_code == GONE or attempt.tries >= self._max_tries:
                self._change(connection, attempt.id, status="failed")
            else:
                pause_s = self._retry_s * 2.0 ** (attempt.tries - 1)
                jitter = 1 + secrets.randbelow(100) / 1000  # a receiver that was down is not met by all at once
                self._change(connection, attempt.id, next_at=self.database.now_s(connection) + pause_s * jitter)

    def of_job(self, job_id: str) -> list[dict[str, Any]]:
        """The messages about a job with all their attempts, as the API shows them, oldest first."""
        with self.database.read() as connection:
            mine = select(deliveries).where(deliveries.c.job_id == job_id).order_by(deliveries.c.created_at)
            return [self._object(connection, row) for row in connection.execute(mine).all()]

    def replay(self, job_id: str, delivery_id: str) -> dict[str, Any]:
        """Send a message again, at once and with all its tries before it; raises JobNotFoundError."""
        with self.database.write() as connection:
            this = deliveries.c.id == delivery_id.replace("\0", ""), deliveries.c.job_id == job_id
            values = {"status": "pending", "tries": 0, "next_at": self.database.now_s(connection)}
            row = connection.execute(update(deliveries).where(*this).values(values).returning(*deliveries.c)).first()
            if row is None:
                raise JobNotFoundError(
                    f"The job '{job_id}' has no webhook message '{delivery_id[:100]}'.", code="webhook_not_found"
                )
            return self._object(connection, row)

    def _change(self, connection: Connection, delivery_id: str, **values: object) -> None:
        # One that was delivered meanwhile by a slower attempt stays so.
        pending = deliveries.c.id == delivery_id, deliveries.c.status == "pending"
        connection.execute(update(deliveries).where(*pending).values(values))

    def _object(self, connection: Connection, row: AnyRow) -> dict[str, Any]:
        mine = delivery_attempts.c.delivery_id == row.id
        attempts = connection.execute(select(delivery_attempts).where(mine).order_by(delivery_attempts.c.number)).all()
        return {
            "id": row.id,
            "object": "transcription.job.webhook",
            "type": row.type,
            "url": row.url,
            "status": row.status,
            "created_at": int(row.created_at),
            "next_attempt_at": int(row.next_at) if row.status == "pending" else None,
            "attempts": [
                {
                    "number": attempt.number,
                    "at": int(attempt.at),
                    "duration_s": None if attempt.duration_s is None else round(attempt.duration_s, 3),
                    "status_code": attempt.status_code,
                    "error": attempt.error,
                }
                for attempt in attempts
            ],
        }
