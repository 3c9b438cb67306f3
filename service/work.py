"""A worker without the HTTP API: what `cepstra work` does. It shares database and state directory with the servers."""

import asyncio
import logging
import logging.config
import signal
import time
from types import FrameType

from features.errors import CepstraError
from service.app import recognise_with
from service.jobs.jobs import Jobs
from service.logs import logging_config
from service.recogniser import ServedModel
from service.scheduler import Scheduler
from service.settings import Settings

logger = logging.getLogger("cepstra.service")


def work(settings: Settings) -> int:
    """Work on jobs until told to stop, then finish or hand back what runs.

    Returns:
        The exit status of the process: 0 after a normal end, 1 where model or database could not be had.
    """
    logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
    signals: list[int] = []

    def ask(sig: int, frame: FrameType | None) -> None:
        signals.append(sig)  # and nothing that takes a lock, which what was interrupted may hold

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    served = ServedModel(settings)
    scheduler = Scheduler(settings.workers, settings.max_waiting, background_workers=settings.background_workers)
    try:
        jobs = Jobs(settings, recognise_with(served, scheduler))
    except CepstraError as error:
        logger.critical("%s", error)
        return 1
    served.load()
    if served.failure:
        return 1
    jobs.start()
    jobs.start_working()
    logger.info("working on %d jobs at a time", settings.background_workers)
    while not signals:
        time.sleep(0.2)
    logger.info("asked to end")
    jobs.stop()
    asyncio.run(scheduler.close())
    served.close()
    return 0
