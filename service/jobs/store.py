"""Jobs as clients make, list, read and erase them. Every owner sees their own alone."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from model.transcript import Transcript
from service.errors import IdempotencyKeyReusedError, JobNotFinishedError, JobNotFoundError, QueueFullError
from service.jobs.database import Database
from service.jobs.ending import end_job
from service.jobs.job import UNFINISHED, Job, is_job_id
from service.jobs.rows import AnyRow, job_of, read_transcript, written_options
from service.jobs.schema import deliveries, jobs, results
from service.schemas import TranscriptionOptions

NAMES_AT_ONCE = 1000  # in one statement; some databases take 32,766 parameters, and none any number


@dataclass(frozen=True)
class NewJob:
    """What a client asks for, its audio on disk already.

    Attributes:
        id: name of the audio file.
        owner: id of the key (`Key.owner`); empty without keys.
        options: the form.
        request_hash: of all that the client sent.
        idempotency_key: the client's name for this request.
        webhook_url: whom to tell of the end.
    """

    id: str
    owner: str
    options: TranscriptionOptions
    request_hash: str
    idempotency_key: str | None = None
    webhook_url: str | None = None


@dataclass(frozen=True)
class Page:
    """Part of a list.

    Attributes:
        jobs: in the order asked for.
        has_more: whether others follow.
    """

    jobs: tuple[Job, ...]
    has_more: bool


class JobStore:
    """The rows of jobs.

    Args:
        database: where they are.
        max_unfinished: how many may be queued or running at once.
    """

    def __init__(self, database: Database, max_unfinished: int) -> None:
        self._database = database
        self._max_unfinished = max_unfinished

    def check_room(self, owner: str = "", idempotency_key: str | None = None) -> None:
        """Raise QueueFullError where no more jobs are taken and the key stands for none that was."""
        if not self._database.exists:
            return
        with self._database.read() as connection:
            if _with_key(connection, owner, idempotency_key) is None:
                self._check_room(connection)

    def count_by_status(self) -> dict[str, int]:
        """How many jobs there are of each status, all owners together; statuses without any may be missing."""
        if not self._database.exists:
            return {}
        with self._database.read() as connection:
            rows = connection.execute(select(jobs.c.status, func.count()).group_by(jobs.c.status)).all()
        return {row[0]: row[1] for row in rows}

    def queue_age_s(self) -> float:
        """How long ago the oldest queued job was taken in, seconds; 0 without any."""
        if not self._database.exists:
            return 0.0
        with self._database.read() as connection:
            oldest = select(func.min(jobs.c.created_at)).where(jobs.c.status == "queued")
            created_at_s = connection.execute(oldest).scalar()
            return 0.0 if created_at_s is None else max(0.0, self._database.now_s(connection) - created_at_s)

    def add(self, new: NewJob) -> Job:
        """Make the row; it is on disk when this returns.

        Returns:
            The job, or the earlier one of the same owner, key and request; its `id` tells.

        Raises:
            IdempotencyKeyReusedError: the key stands for another request.
            QueueFullError: there are as many unfinished jobs as may be. SQLite's writers come one after the other, so
                none is one too many; of PostgreSQL's none sees those that are written at the same moment.
        """
        try:
            with self._database.write() as connection:
                earlier = _with_key(connection, new.owner, new.idempotency_key)
                if earlier is not None:
                    return _same(new, earlier)
                self._check_room(connection)
                now_s = self._database.now_s(connection)
                row = connection.execute(
                    insert(jobs)
                    .values(
                        id=new.id,
                        owner=new.owner,
                        status="queued",
                        progress=0.0,
                        attempts=0,
                        created_at=now_s,
                        not_before=now_s,
                        options=written_options(new.options),
                        request_hash=new.request_hash,
                        idempotency_key=new.idempotency_key,
                        webhook_url=new.webhook_url,
                    )
                    .returning(*jobs.c)
                ).one()
                return job_of(row)
        except IntegrityError:
            # The unique index decides, so that of two requests at the same moment one makes the job.
            return self._earlier(new)

    def get(self, job_id: str, owner: str) -> Job:
        """The job; raises JobNotFoundError where that owner has none of that name."""
        return job_of(self._row(job_id, owner))

    def page(self, owner: str, *, limit: int, after: str | None = None, newest_first: bool = True) -> Page:
        """At most `limit` jobs, those after the job `after` in that order, which need not exist any more."""
        if not self._database.exists:
            return Page((), has_more=False)
        wanted = select(jobs).where(jobs.c.owner == owner).limit(limit + 1)
        if after is not None:
            wanted = wanted.where(jobs.c.id < after if newest_first else jobs.c.id > after)
        with self._database.read() as connection:
            rows = connection.execute(wanted.order_by(jobs.c.id.desc() if newest_first else jobs.c.id)).all()
        return Page(tuple(job_of(row) for row in rows[:limit]), has_more=len(rows) > limit)

    def transcript(self, job_id: str, owner: str) -> tuple[Job, Transcript]:
        """A completed job and its transcript.

        Raises:
            JobNotFoundError: there is no such job.
            JobNotFinishedError: it is not completed; the message says how it stands.
        """
        job = self.get(job_id, owner)
        if job.status != "completed":
            raise _no_result(job)
        with self._database.read() as connection:
            text = connection.execute(select(results.c.transcript).where(results.c.job_id == job_id)).scalar()
        if text is None:
            raise _unknown(job_id)  # erased in between
        return job, read_transcript(text)

    def remove(self, job_id: str, owner: str) -> Job | None:
        """Cancel an unfinished job, of which only the job object stays; erase a finished one, of which nothing does.

        Returns:
            The cancelled job; None where it was erased.
        """
        self._row(job_id, owner)
        cancelled = self._removed(job_id, owner)
        self._database.scrub(erased=True)
        return cancelled

    def _removed(self, job_id: str, owner: str) -> Job | None:
        with self._database.write() as connection:
            cancelled = end_job(connection, job_id, "cancelled", self._database.now_s(connection))
            if cancelled is None:
                connection.execute(delete(jobs).where(jobs.c.id == job_id, jobs.c.owner == owner))
                return None
            bare = written_options(TranscriptionOptions(model=cancelled.options.model))
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(options=bare, webhook_url=None))
            return cancelled

    def expire(self, keep_s: float) -> list[str]:
        """Erase the jobs that ended more than `keep_s` ago and have no message left to send; their names."""
        unsent = exists().where(deliveries.c.job_id == jobs.c.id, deliveries.c.status == "pending")
        with self._database.write() as connection:
            before = self._database.now_s(connection) - keep_s
            old = delete(jobs).where(jobs.c.finished_at <= before, ~unsent)
            expired = list(connection.execute(old.returning(jobs.c.id)).scalars())
        self._database.scrub(erased=bool(expired))
        return expired

    def ended_before(self, job_ids: Collection[str], keep_s: float) -> set[str]:
        """Those of `job_ids` that ended at least `keep_s` ago."""
        with self._database.read() as connection:
            since = self._database.now_s(connection) - keep_s
            return _among(connection, job_ids, jobs.c.finished_at <= since)

    def known(self, job_ids: Collection[str]) -> set[str]:
        """Those of `job_ids` that have a row."""
        with self._database.read() as connection:
            return _among(connection, job_ids)

    def _row(self, job_id: str, owner: str) -> AnyRow:
        if not is_job_id(job_id) or not self._database.exists:
            raise _unknown(job_id)
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id, jobs.c.owner == owner)).first()
        if row is None:
            raise _unknown(job_id)
        return row

    def _earlier(self, new: NewJob) -> Job:
        with self._database.read() as connection:
            row = _with_key(connection, new.owner, new.idempotency_key)
        return self.add(new) if row is None else _same(new, row)  # None: erased in between

    def _check_room(self, connection: Connection) -> None:
        count = select(func.count()).select_from(jobs).where(jobs.c.status.in_(UNFINISHED))
        unfinished = connection.execute(count).scalar_one()
        if unfinished >= self._max_unfinished:
            raise QueueFullError(
                f"{unfinished} jobs are unfinished, as many as may be (CEPSTRA_MAX_JOBS={self._max_unfinished}). "
                "Try again in a minute.",
                retry_after_s=60,
            )


def _among(connection: Connection, job_ids: Collection[str], *conditions: ColumnElement[bool]) -> set[str]:
    """Those of `job_ids` that are of jobs with these conditions; asked piece by piece, as a statement holds so many."""
    found: set[str] = set()
    names = iter(job_ids)
    while piece := list(islice(names, NAMES_AT_ONCE)):
        found.update(connection.execute(select(jobs.c.id).where(jobs.c.id.in_(piece), *conditions)).scalars())
    return found


def _with_key(connection: Connection, owner: str, idempotency_key: str | None) -> AnyRow | None:
    """The owner's job that was made with this key."""
    if idempotency_key is None:
        return None
    same = jobs.c.owner == owner, jobs.c.idempotency_key == idempotency_key
    return connection.execute(select(jobs).where(*same)).first()


def _same(new: NewJob, row: AnyRow) -> Job:
    """The job of `row`, which has the key of `new`; raises IdempotencyKeyReusedError where it is another request's."""
    if row.request_hash != new.request_hash:
        raise IdempotencyKeyReusedError(
            f"The Idempotency-Key '{new.idempotency_key}' stands for the job '{row.id}', which was made of another "
            "file or other options. Choose a new key for a new job."
        )
    return job_of(row)


def _unknown(job_id: str) -> JobNotFoundError:
    return JobNotFoundError(f"There is no job '{job_id[:100]}'; it may have been erased.")


def _no_result(job: Job) -> JobNotFinishedError:
    if job.status == "failed":
        reason = job.error["message"] if job.error else "the reason is not known"
        return JobNotFinishedError(f"The job '{job.id}' has failed, so it has no result: {reason}", code="job_failed")
    if job.status == "cancelled":
        return JobNotFinishedError(f"The job '{job.id}' was cancelled, so it has no result.", code="job_cancelled")
    return JobNotFinishedError(
        f"The job '{job.id}' is {job.status} ({job.progress:.0%} done); its result is there once it is completed.",
        retry_after_s=1,
    )
