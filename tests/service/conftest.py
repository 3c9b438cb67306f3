"""Servers to test against: a real uvicorn on a real port, in this process around a fake model."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from service.app import create_app
from service.connections import BoundedWebSocket, bounded_http
from service.decoding.decoders import Decoders
from service.settings import Settings
from tests.service.fakes import FakeTranscriber
from tests.waiting import wait_until as wait_until  # tests of the service find it here

DECODERS = Decoders()  # for all servers of the tests: a server's own take a moment to start


@pytest.fixture(scope="session", autouse=True)
def close_decoders() -> Iterator[None]:
    yield
    DECODERS.close()


@dataclass(frozen=True)
class Server:
    """A server that listens.

    Attributes:
        url: where, without a slash at the end.
        fake: the model behind it.
    """

    url: str
    fake: FakeTranscriber


@contextmanager
def serving(settings: Settings, fake: FakeTranscriber) -> Iterator[Server]:
    app = create_app(settings, fake, DECODERS)
    http = bounded_http(settings.header_s)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=5, http=http, ws=BoundedWebSocket
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: is_ready(url))
            yield Server(url, fake)
        finally:
            fake.release()
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive(), "the server did not end"


def is_ready(url: str) -> bool:
    try:
        return request("GET", f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def request(method: str, url: str, **more: Any) -> httpx.Response:
    """One request on a connection of its own; without loading certificates, which would cost more than all else."""
    with httpx.Client(verify=False, timeout=60) as client:
        return client.request(method, url, **more)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with default settings that remembers nothing."""
    with serving(Settings(remember_s=0), FakeTranscriber()) as running:
        yield running


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts a server with settings of the test's own."""
    with ExitStack() as stack:

        def start(**settings: object) -> Server:
            return stack.enter_context(serving(Settings.model_validate(settings), FakeTranscriber()))

        yield start


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    """The official client, pointed at the server."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected
