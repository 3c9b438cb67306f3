"""A worker without the HTTP API: what `cepstra work` does. It shares database and state directory with the servers."""

import asyncio
import errno
import logging
import logging.config
import os
import signal
import tempfile
import time
from types import FrameType

from features.errors import CepstraError
from service.app import recognise_with, watch
from service.errors import JobsUnavailableError
from service.jobs.database import make_folder
from service.jobs.jobs import Jobs
from service.logs import logging_config
from service.probe_server import ProbeServer
from service.processors import default_workers
from service.recogniser import ServedModel
from service.scheduler import Scheduler
from service.settings import Settings

logger = logging.getLogger("cepstra.service")

TICK_S = 0.5
PASSING = ("locked", "busy", "full")  # what SQLite says of what passes


def work(settings: Settings) -> int:
    """Work on jobs until told to stop, then finish or hand back what runs.

    Returns:
        The exit status of the process: 0 after a normal end, 1 where model, state directory, database or port cannot
        be had.
    """
    logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
    signals: list[int] = []

    def ask(sig: int, frame: FrameType | None) -> None:
        signals.append(sig)  # and nothing that takes a lock, which what was interrupted may hold

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    served = ServedModel(settings)
    scheduler = Scheduler(
        settings.workers or default_workers(), settings.max_waiting, background_workers=settings.background_workers
    )
    try:
        jobs = Jobs(settings, recognise_with(served, scheduler))
        open_state(settings, jobs)
        probes = None
        if settings.metrics_port is not None:
            probes = ProbeServer(settings, served, watch(settings, served, scheduler, jobs))
            logger.info("numbers at http://%s:%d/metrics", settings.host, probes.port)
    except CepstraError as error:
        logger.critical("%s", error)
        return 1
    jobs.start()
    served.load()
    if not served.failure:
        jobs.start_working()
        logger.info("working on %d jobs at a time", settings.background_workers)
        while not signals and not jobs.refusal:
            served.tend()
            time.sleep(TICK_S)
    if jobs.refusal:
        logger.critical("%s", jobs.refusal)
    elif signals:
        logger.info("asked to end")
    if probes:
        probes.drain()
    jobs.stop()
    asyncio.run(scheduler.close())
    served.close()
    if probes:
        probes.close()
    return 1 if served.failure or jobs.refusal else 0


def open_state(settings: Settings, jobs: Jobs) -> None:
    """Open the database of the jobs and the folder of their audio, without which a worker would wait for ever.

    A PostgreSQL that is away is waited for, and an SQLite that another process uses: the jobs' threads look again.

    Raises:
        JobsUnavailableError: the state directory cannot be used, or a newer Cepstra has made the database.
    """
    audio = settings.state_dir / "jobs" / "audio"
    try:
        make_folder(audio)
        with tempfile.TemporaryFile(dir=audio):
            pass
    except OSError as error:
        reason = os.strerror(errno.ENOTDIR) if isinstance(error, FileExistsError) else error.strerror
        raise _unusable(settings, reason) from error
    try:
        jobs.page(limit=1)
    except JobsUnavailableError as error:
        if jobs.refusal:
            raise
        cause = error.__cause__
        said = getattr(cause, "orig", None) or cause
        if not settings.database_url and not any(passing in str(said) for passing in PASSING):
            raise _unusable(settings, said) from error
        logger.warning("waiting for the jobs' database: there is no work until it answers")


def _unusable(settings: Settings, reason: object) -> JobsUnavailableError:
    return JobsUnavailableError(
        f"Jobs cannot be kept in {settings.state_dir}: {reason}. CEPSTRA_STATE_DIR can name another folder."
    )
