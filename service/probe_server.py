"""What `cepstra work` answers over HTTP where CEPSTRA_METRICS_PORT is set: `/metrics`, `/healthz`, `/readyz`.

They are the server's own routes behind the server's own layers, so that Prometheus and Docker ask both alike.
"""

import socket
from threading import Thread

import uvicorn
from fastapi import FastAPI

from service.access import Access
from service.app import answer_errors
from service.connections import bounded_http
from service.errors import PortError
from service.exposure import check_exposure
from service.key_ring import KeyRing
from service.keys import KeyFile
from service.recogniser import ServedModel
from service.request_context import RequestContext
from service.routes import health, metrics
from service.settings import Settings
from service.telemetry import Telemetry

CLOSE_S = 5.0


class ProbeServer:
    """Answers in a thread of its own, from when it is made until it is closed.

    Args:
        settings: where it listens (`host`, `metrics_port`), and whose keys it asks for (`state_dir`).
        served: the model, without which the process is not ready.
        telemetry: the numbers.

    Raises:
        ExposedError: other machines reach it, there are no keys, and nobody said that this is meant.
        KeyFileError: whether there are keys cannot be told.
        PortError: the port cannot be had.
    """

    def __init__(self, settings: Settings, served: ServedModel, telemetry: Telemetry) -> None:
        keys = KeyFile(settings.state_dir)
        check_exposure(settings, keys)
        self._app = app = FastAPI(openapi_url=None)
        app.state.served, app.state.telemetry, app.state.draining = served, telemetry, False
        for noun in (health, metrics):
            app.include_router(noun.router)
        answer_errors(app)
        app.add_middleware(Access, settings=settings, keys=KeyRing(keys))
        app.add_middleware(RequestContext, telemetry=telemetry)
        listening = _listen(settings.host, settings.metrics_port or 0)
        self.port: int = listening.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                http=bounded_http(settings.header_s),
                timeout_graceful_shutdown=1,
            )
        )
        # A daemon, so that a client that reads nothing does not keep the process from ending.
        self._thread = Thread(target=self._server.run, args=([listening],), name="probes", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """The process is to end: it is not ready any more."""
        self._app.state.draining = True

    def close(self) -> None:
        """Stop answering."""
        self._server.should_exit = True
        self._thread.join(CLOSE_S)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise PortError(f"{host}:{port} (CEPSTRA_METRICS_PORT) cannot be listened on: {error.strerror}.") from error
