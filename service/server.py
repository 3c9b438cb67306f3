"""The server process: uvicorn around the application, with our log format."""

import contextlib
import logging
import logging.config
import sys
import time
from threading import Thread
from types import FrameType

import uvicorn
from fastapi import FastAPI

from features.errors import CepstraError
from service.app import create_app
from service.connections import BoundedWebSocket, bounded_http
from service.logs import logging_config
from service.memory import keep_flat
from service.recogniser import ServedModel
from service.settings import Settings

# How long a thread that computes in Python may keep the event loop waiting; the search asks after about 2 ms anyway.
SWITCH_INTERVAL_S = 0.001

logger = logging.getLogger("cepstra.service")


def serve(settings: Settings) -> int:
    """Serve until told to stop.

    Returns:
        The exit status of the process: 0 after a normal end, 1 where the model could not be loaded.
    """
    logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    keep_flat()
    try:
        app = create_app(settings)
    except CepstraError as error:
        logger.critical("%s", error)
        return 1
    server = DrainingServer(
        app,
        settings.drain_s,
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            http=bounded_http(settings.header_s),
            timeout_graceful_shutdown=settings.shutdown_s,
            ws=BoundedWebSocket,
            # A socket whose audio is being heard is not read, pongs neither; CEPSTRA_SOCKET_IDLE_S ends dead ones.
            ws_ping_interval=None,
        ),
    )
    served: ServedModel = app.state.served

    def stop() -> None:
        server.should_exit = True

    served.on_failure = stop
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has ended in good order
        server.run()
    return 1 if served.failure or not server.started else 0


class DrainingServer(uvicorn.Server):
    """Ends in two steps: `/readyz` says 503 and no job is begun; after `drain_s` nothing new is accepted either.

    Whoever shares requests out among several servers thus hears of it before a request is refused.
    """

    def __init__(self, app: FastAPI, drain_s: float, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._state = app.state
        self._drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called at each signal; a second one ends the wait."""
        if self._state.draining or not self._drain_s:
            super().handle_exit(sig, frame)
            return
        self._state.draining = True
        # In a thread: a signal handler runs between any two instructions, and these may hold the log or the lock.
        Thread(target=self._drain, args=(sig, frame), daemon=True).start()

    def _drain(self, sig: int, frame: FrameType | None) -> None:
        logger.info("asked to end; not ready any more")
        self._state.jobs.drain()
        time.sleep(self._drain_s)
        if not self.should_exit:
            super().handle_exit(sig, frame)
