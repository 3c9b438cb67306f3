"""Jobs in this process: what the routes call, and the threads that transcribe, send webhooks and erase.

<state>/jobs/jobs.sqlite      the rows, unless CEPSTRA_DATABASE_URL names PostgreSQL
<state>/jobs/audio/<job id>   the audio
<state>/jobs/webhook-secret   what webhooks are signed with, unless CEPSTRA_WEBHOOK_SECRET_FILE names another
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, BinaryIO, ParamSpec, TypeVar

from model.transcript import Transcript
from service.errors import JobsUnavailableError, NewerDatabaseError
from service.jobs.audio_files import AudioFiles
from service.jobs.database import Database
from service.jobs.job import Job, new_job_id
from service.jobs.leases import LeaseQueue
from service.jobs.loop import Loop
from service.jobs.outbound import check_url, post
from service.jobs.outbox import Outbox
from service.jobs.retention import Retention
from service.jobs.rows import written_options
from service.jobs.signing import SecretFile
from service.jobs.store import JobStore, NewJob, Page
from service.jobs.webhooks import Webhooks
from service.jobs.worker import Recognise, Worker
from service.networks import Network, parse_networks
from service.schemas import TranscriptionOptions
from service.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

SWEEP_S = 60.0
WEBHOOK_TIMEOUT_S = 15.0
WEBHOOK_GRACE_S = 2.0
CALL_THREADS = 4


class Jobs:
    """Everything about jobs; opened by the first that needs it, so a service without jobs writes nothing to disk.

    Args:
        settings: the deployment's.
        recognise: what is done with a job's audio.
        user_agent: how webhooks call themselves.
    """

    def __init__(self, settings: Settings, recognise: Recognise, user_agent: str = "Cepstra") -> None:
        folder = settings.state_dir / "jobs"
        self._shutdown_s = settings.shutdown_s
        self._drained_at_s: float | None = None
        self._networks: tuple[Network, ...] = parse_networks(settings.webhook_networks)
        self._audio = AudioFiles(folder / "audio")
        database = Database(folder, settings.database_url, settings.database_password_file)
        self._database = database
        self._store = JobStore(database, settings.max_jobs)
        self._outbox = Outbox(database, settings.webhook_attempts, settings.webhook_retry_s)
        retention = Retention(
            self._store, self._audio, keep_jobs_s=settings.keep_jobs_s, keep_audio_s=settings.keep_audio_s
        )
        own, named = folder / "webhook-secret", settings.webhook_secret_file
        self._secret = SecretFile(named, make=False, instead=own) if named else SecretFile(own, make=True)
        self._webhooks = Webhooks(
            self._outbox,
            self._secret,
            partial(post, allowed=self._networks, timeout_s=WEBHOOK_TIMEOUT_S),
            user_agent,
        )
        self._retention = retention
        self._worker = Worker(
            LeaseQueue(database, settings.job_lease_s, settings.job_attempts),
            self._audio.path,
            recognise,
            retention,
            slots=settings.background_workers,
            on_end=self._webhooks.wake,
        )
        self._sweeper = Loop("job-retention", self._sweep, SWEEP_S)
        self._threads = ThreadPoolExecutor(CALL_THREADS, thread_name_prefix="jobs")

    @property
    def refusal(self) -> NewerDatabaseError | None:
        """Why there are no jobs in this process and never will be; None where there are, or may be."""
        return self._database.refusal

    def count_by_status(self) -> dict[str, int]:
        """How many jobs there are of each status, all owners together."""
        return self._store.count_by_status()

    def queue_age_s(self) -> float:
        """How long ago the oldest queued job was taken in, seconds; 0 without any."""
        return self._store.queue_age_s()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One of the methods below, off the event loop, and without taking the threads of others."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))

    def check_room(self, owner: str = "", idempotency_key: str | None = None) -> None:
        """Raise QueueFullError where `submit` will; spares reading an upload for nothing."""
        self._store.check_room(owner, idempotency_key)

    def submit(
        self,
        audio: BinaryIO,
        options: TranscriptionOptions,
        *,
        owner: str = "",
        idempotency_key: str | None = None,
        webhook_url: str | None = None,
    ) -> Job:
        """Take a job in; when this returns, audio and row are safely on disk.

        Args:
            audio: read from its start.
            options: checked already.
            owner: id of the key (`Key.owner`).
            idempotency_key: the same one sent again gives the same job.
            webhook_url: whom to tell of the end.

        Raises:
            InvalidRequestError: the URL is none, or a private one.
            IdempotencyKeyReusedError: the key stands for another request.
            QueueFullError: there are as many unfinished jobs as may be; never for a request that was taken in before.
            JobsUnavailableError: disk or database cannot be written. Whether the job was taken in may be unknown;
                with an idempotency key the client can simply ask again.
        """
        if webhook_url is not None:
            check_url(webhook_url, self._networks)
            self._secret.keys()  # a message that cannot be signed is refused here rather than lost later
        job_id = new_job_id()
        sha256 = self._audio.keep(job_id, audio)
        request = "\n".join((sha256, written_options(options), webhook_url or ""))
        new = NewJob(
            job_id,
            owner,
            options,
            hashlib.sha256(request.encode()).hexdigest(),
            idempotency_key,
            webhook_url,
        )
        try:
            job = self._store.add(new)
        except JobsUnavailableError:
            raise  # the row may be there in spite of it; if it is not, the file is erased as nobody's later
        except BaseException:
            self._audio.erase(job_id)
            raise
        if job.id != job_id:
            self._audio.erase(job_id)
        self._worker.wake()
        return job

    def get(self, job_id: str, owner: str = "") -> Job:
        """The job; raises JobNotFoundError."""
        return self._store.get(job_id, owner)

    def page(self, owner: str = "", *, limit: int = 20, after: str | None = None, newest_first: bool = True) -> Page:
        """Part of the owner's jobs; see `JobStore.page`."""
        return self._store.page(owner, limit=limit, after=after, newest_first=newest_first)

    def transcript(self, job_id: str, owner: str = "") -> tuple[Job, Transcript]:
        """A completed job and its transcript; raises JobNotFoundError and JobNotFinishedError."""
        return self._store.transcript(job_id, owner)

    def remove(self, job_id: str, owner: str = "") -> Job | None:
        """Cancel an unfinished job, or erase a finished one; the audio goes in either case.

        Returns:
            The cancelled job; None where it was erased.
        """
        cancelled = self._store.remove(job_id, owner)
        self._worker.abandon(job_id)
        self._audio.erase(job_id)
        self._webhooks.wake()
        return cancelled

    def webhooks(self, job_id: str, owner: str = "") -> list[dict[str, Any]]:
        """The messages about a job and their attempts, as the API shows them; raises JobNotFoundError."""
        self._store.get(job_id, owner)
        return self._outbox.of_job(job_id)

    def replay(self, job_id: str, delivery_id: str, owner: str = "") -> dict[str, Any]:
        """Send a message again, at once; raises JobNotFoundError."""
        self._store.get(job_id, owner)
        message = self._outbox.replay(job_id, delivery_id)
        self._webhooks.wake()
        return message

    def start(self) -> None:
        """Send webhooks and erase what is over; both need no model."""
        self._webhooks.start()
        self._sweeper.start()

    def start_working(self) -> None:
        """Take jobs; `recognise` has to be ready."""
        self._worker.start()

    def drain(self) -> None:
        """The process is to end: take no more jobs. The time to finish what runs begins now."""
        if self._drained_at_s is None:
            self._drained_at_s = time.monotonic()
            self._worker.drain()

    def stop(self) -> None:
        """End the threads: what runs may finish within what is left of `shutdown_s`, the rest is handed back."""
        self.drain()
        assert self._drained_at_s is not None
        self._worker.stop(max(0.0, self._drained_at_s + self._shutdown_s - time.monotonic()))
        self._sweeper.stop()
        self._webhooks.stop(WEBHOOK_GRACE_S)
        self._threads.shutdown()
        self._database.close()

    def _sweep(self) -> bool:
        if self._database.exists:
            self._retention.sweep()
        return False
