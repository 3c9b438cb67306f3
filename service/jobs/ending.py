"""The one way in which a job ends: its state, its transcript and the message about it change together, once."""

import json
from typing import Any, Literal

from sqlalchemy import Connection, insert, update

from service.jobs.job import UNFINISHED, Job
from service.jobs.outbox import enqueue
from service.jobs.rows import job_of
from service.jobs.schema import jobs, results

End = Literal["completed", "failed", "cancelled"]


def end_job(
    connection: Connection,
    job_id: str,
    end: End,
    now_s: float,
    *,
    token: str | None = None,
    transcript: str | None = None,
    error: dict[str, Any] | None = None,
) -> Job | None:
    """End a job inside the caller's transaction.

    Args:
        connection: the transaction.
        job_id: the job.
        end: how it ends.
        now_s: Unix seconds.
        token: of the lease under which it was worked on; without one it ends whoever works on it.
        transcript: JSON, of a completed one.
        error: OpenAI's error object, of a failed one.

    Returns:
        The job as it is now; None where it has ended already or somebody else has taken it over: nothing was changed.
    """
    mine = [jobs.c.id == job_id, jobs.c.status.in_(UNFINISHED)]
    if token is not None:
        mine.append(jobs.c.lease_token == token)
    values: dict[str, Any] = {
        "status": end,
        "finished_at": now_s,
        "error": json.dumps(error) if error else None,
        "lease_token": None,
        "lease_until": None,
    }
    if end == "completed":
        values["progress"] = 1.0
    row = connection.execute(update(jobs).where(*mine).values(values).returning(*jobs.c)).first()
    if row is None:
        return None
    if transcript is not None:
        connection.execute(insert(results).values(job_id=job_id, transcript=transcript))
    job = job_of(row)
    if row.webhook_url:
        enqueue(connection, job, row.webhook_url, now_s)
    return job
