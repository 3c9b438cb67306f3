"""The server process: uvicorn around the application, with our log format."""

import contextlib
import logging
import logging.config
import sys
from typing import Any

import uvicorn

from service.app import create_app
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
    logging.config.dictConfig(_logging(settings.log_level))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.shutdown_s,
        )
    )
    served: ServedModel = app.state.served

    def stop() -> None:
        server.should_exit = True

    served.on_failure = stop
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has ended in good order
        server.run()
    return 1 if served.failure or not server.started else 0


def _logging(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
    }
