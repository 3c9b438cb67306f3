"""Who may do what: every route, HTTP and WebSocket, with and without a key, and from other web pages."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from service.access import ANY_SCOPE, PUBLIC, SCOPES, SUBPROTOCOL, Access, scopes_of
from service.app import create_app
from service.errors import ExposedError, KeyFileError
from service.exposure import check_exposure, is_loopback
from service.key_ring import KeyRing
from service.keys import KeyFile
from service.settings import Settings
from tests.service.conftest import DECODERS, request, serving, wait_until
from tests.service.fakes import TEXT, FakeTranscriber, wav

PAGE = "https://elsewhere.example"


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def secrets(state_dir: Path) -> dict[str, str]:
    """A key for each scope."""
    return {scope: KeyFile(state_dir).create(f"{scope}-key", (scope,)) for scope in ANY_SCOPE}


@pytest.fixture(scope="module")
def app(state_dir: Path, secrets: dict[str, str]) -> FastAPI:
    return create_app(Settings(state_dir=state_dir), FakeTranscriber(), DECODERS)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as connected:
        wait_until(lambda: connected.get("/readyz").status_code == 200)
        yield connected


def routes_of(router: Any) -> Iterator[tuple[str, str]]:
    """Every (method, path) of an application, `WEBSOCKET` for a WebSocket; FastAPI nests included routers."""
    for route in router.routes:
        if nested := getattr(route, "original_router", None):
            yield from routes_of(nested)
        elif hasattr(route, "methods"):
            yield from ((method, route.path) for method in sorted(route.methods))
        else:
            yield "WEBSOCKET", route.path  # and whatever else there may be: it has to be denied too


ROUTES = sorted(set(routes_of(create_app(Settings(), FakeTranscriber()))))


def url(path: str) -> str:
    return re.sub(r"{[^}]*}", "x", path)


def status(client: TestClient, method: str, path: str, secret: str | None) -> int:
    """The status of an answer; 101 where a WebSocket opens."""
    headers = {"authorization": f"Bearer {secret}"} if secret is not None else {}
    if method != "WEBSOCKET":
        return client.request(method, url(path), headers=headers).status_code
    try:
        with client.websocket_connect(url(path), headers=headers):
            return 101
    except WebSocketDenialResponse as denial:
        return denial.status_code
    except WebSocketDisconnect:  # let through, and closed by the route itself
        return 101


def test_the_walk_sees_all_routes() -> None:
    assert {("POST", "/v1/audio/transcriptions"), ("GET", "/v1/models/{model}"), ("GET", "/")} <= set(ROUTES)
    assert {path for _, path in ROUTES} >= PUBLIC


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_is_denied_without_the_right_key(
    client: TestClient, secrets: dict[str, str], method: str, path: str
) -> None:
    if path in PUBLIC:
        assert status(client, method, path, None) == 200
        return
    listed = any(path == prefix or path.startswith(f"{prefix}/") for prefix in SCOPES)
    assert listed, f"{path} stands in no line of service.access.SCOPES"
    for wrong in (None, "", "none", "cepstra_" + "a" * 43, secrets["admin"] + "x"):
        assert status(client, method, path, wrong) == 401
    for scope, secret in secrets.items():
        answered = status(client, method, path, secret)
        assert (answered == 403) == (scope not in scopes_of(path))
        assert answered != 401


def test_what_is_not_listed_is_closed(client: TestClient, secrets: dict[str, str]) -> None:
    for path in ("/v1/audiobooks", "/v1", "/docs", "/v1/jobsx", "/healthz/", "/healthz//", "/v1/healthz"):
        assert scopes_of(path) == ("admin",)
        assert status(client, "GET", path, None) == 401
        assert status(client, "GET", path, secrets["transcribe"]) == 403
        assert status(client, "GET", path, secrets["admin"]) not in (401, 403)


def test_the_client_raises_its_own_errors(state_dir: Path, secrets: dict[str, str]) -> None:
    """Over a real socket, uploads included: the answer is read although the body is not."""
    clip = ("speech.wav", wav(2.0))
    with serving(Settings(state_dir=state_dir), FakeTranscriber()) as server:

        def connected(key: str) -> openai.OpenAI:
            return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)

        with connected(secrets["transcribe"]) as good:
            assert good.audio.transcriptions.create(file=clip, model="default").text == TEXT
            assert good.models.list().data
        with connected("wrong") as bad, pytest.raises(openai.AuthenticationError) as unknown:
            bad.audio.transcriptions.create(file=("large.wav", bytes(3_000_000)), model="default")
        assert (unknown.value.code, unknown.value.type) == ("invalid_api_key", "invalid_request_error")
        assert unknown.value.request_id
        assert unknown.value.response.headers["www-authenticate"] == "Bearer"
        with connected(secrets["jobs"]) as other, pytest.raises(openai.PermissionDeniedError) as denied:
            other.audio.transcriptions.create(file=clip, model="default")
        assert denied.value.code == "insufficient_scope"
        assert "'jobs-key' has the scope 'jobs'; this needs 'transcribe'" in denied.value.message


def test_rate_just_under_and_just_over(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    own, common = keys.create("own", requests_per_minute=3), keys.create("common")
    with TestClient(create_app(Settings(state_dir=tmp_path, key_rate=2), FakeTranscriber(), DECODERS)) as client:

        def ask(secret: str) -> bool:
            return status(client, "GET", "/v1/models", secret) == 429

        assert [ask(own) for _ in range(4)] == [False, False, False, True]
        assert [ask(common) for _ in range(3)] == [False, False, True]
        response = client.get("/v1/models", headers={"authorization": f"Bearer {own}"})
        assert response.json()["error"]["code"] == "rate_limit_exceeded"
        assert "'own' may send 3 requests a minute" in response.json()["error"]["message"]
        assert 1 <= int(response.headers["retry-after"]) <= 20


def test_keys_come_and_go_without_a_restart(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    with TestClient(create_app(Settings(state_dir=tmp_path), FakeTranscriber(), DECODERS)) as client:
        assert status(client, "GET", "/v1/nothing", None) == 404
        secret = keys.create("ada")
        assert status(client, "GET", "/v1/nothing", None) == 401
        assert status(client, "GET", "/v1/models/x", secret) != 401
        keys.revoke("ada")
        assert status(client, "GET", "/v1/models/x", secret) == 401


# ---- WebSockets


async def tell_key(websocket: WebSocket) -> None:
    await websocket.accept("realtime" if "realtime" in websocket.scope["subprotocols"] else None)
    await websocket.send_text(websocket.state.key.name if websocket.state.key else "nobody")
    await websocket.close()


def socket_client(settings: Settings) -> TestClient:
    app = Starlette(routes=[WebSocketRoute("/v1/realtime", tell_key), WebSocketRoute("/v1/jobs/live", tell_key)])
    return TestClient(Access(app, settings, KeyRing(KeyFile(settings.state_dir))))


def said(client: TestClient, path: str = "/v1/realtime", **more: Any) -> str | int:
    """What the WebSocket says, or the status with which it is refused."""
    try:
        with client.websocket_connect(path, **more) as websocket:
            return websocket.receive_text()
    except WebSocketDenialResponse as denial:
        return denial.status_code if denial.json()["error"]["code"] else 0


def test_a_websocket_takes_the_key_in_either_place(state_dir: Path, secrets: dict[str, str]) -> None:
    client = socket_client(Settings(state_dir=state_dir))
    header = {"authorization": f"Bearer {secrets['transcribe']}"}
    assert said(client, headers=header) == "transcribe-key"
    assert said(client, subprotocols=["realtime", SUBPROTOCOL + secrets["transcribe"]]) == "transcribe-key"
    assert said(client, subprotocols=["realtime"]) == 401
    assert said(client, subprotocols=["realtime", SUBPROTOCOL + "wrong"]) == 401
    assert said(client, "/v1/jobs/live", headers=header) == 403
    assert said(client, headers=header | {"origin": PAGE}) == 403


def test_a_server_without_denial_responses_closes_the_websocket(state_dir: Path) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing is to be read")

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(*_: object) -> None:
        raise AssertionError("let through")

    access = Access(app, Settings(state_dir=state_dir), KeyRing(KeyFile(state_dir)))
    scope = {"type": "websocket", "path": "/v1/realtime", "headers": [], "subprotocols": [], "extensions": {}}
    asyncio.run(access(scope, receive, send))
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


# ---- other machines, other pages


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_no_key(host: str, tmp_path: Path) -> None:
    assert is_loopback(host)
    check_exposure(Settings(host=host, state_dir=tmp_path), KeyFile(tmp_path))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "speech.example", ""])
def test_other_machines_need_keys_or_permission(host: str, tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    with pytest.raises(ExposedError, match=r"cepstra keys create.*CEPSTRA_ALLOW_ANONYMOUS"):
        check_exposure(Settings(host=host, state_dir=tmp_path), keys)
    check_exposure(Settings(host=host, state_dir=tmp_path, allow_anonymous=True), keys)
    keys.create("ada")
    check_exposure(Settings(host=host, state_dir=tmp_path), keys)
    keys.path.write_text("damaged")
    for allowed in (False, True):
        with pytest.raises(KeyFileError):
            check_exposure(Settings(host=host, state_dir=tmp_path, allow_anonymous=allowed), keys)


@pytest.fixture(scope="module")
def posted() -> Iterator[Callable[..., str | None]]:
    """The code of the answer to a POST with some headers, where some origins are allowed.

    `unsupported_endpoint` is what the route itself says: the request was let through.
    """
    with ExitStack() as stack:

        @lru_cache
        def client(allowed_origins: str) -> TestClient:
            app = create_app(Settings(allowed_origins=allowed_origins), FakeTranscriber(), DECODERS)
            return stack.enter_context(TestClient(app))

        def post(allowed_origins: str = "", **headers: str) -> str | None:
            headers = {"host": "127.0.0.1:8000", **headers}
            answer = client(allowed_origins).post("/v1/audio/translations", headers=headers)
            code: str | None = answer.json()["error"]["code"]
            return code

        yield post


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unsupported_endpoint"),
        ({"origin": "http://127.0.0.1:8000"}, "unsupported_endpoint"),
        ({"origin": "http://127.0.0.1:9000"}, "origin_not_allowed"),
        ({"origin": PAGE}, "origin_not_allowed"),
        ({"origin": "null"}, "origin_not_allowed"),
        ({"origin": ""}, "origin_not_allowed"),
        ({"origin": PAGE, "sec-fetch-site": "cross-site"}, "origin_not_allowed"),
        ({"origin": "https://proxy.example", "sec-fetch-site": "same-origin"}, "unsupported_endpoint"),
        ({"origin": "http://rebound.example:8000", "host": "rebound.example:8000"}, "host_not_allowed"),
        ({"host": "rebound.example"}, "host_not_allowed"),
        ({"host": "[::1]:8000"}, "unsupported_endpoint"),
        ({"host": "[::1"}, "host_not_allowed"),
        ({"host": "cepstra.localhost:8000"}, "unsupported_endpoint"),
        ({"host": "cepstra:8000"}, "unsupported_endpoint"),
    ],
)
def test_pages_of_elsewhere_cannot_call(posted: Callable[..., str | None], headers: dict[str, str], code: str) -> None:
    assert posted(**headers) == code


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 400),
        ("192.168.1.4:8000", 400),
        ("[2001:db8::1]:8000", 400),
        ("localhost:8000", 400),
        ("cepstra:8000", 400),
        ("speech.example.org", 400),
        ("rebound.example:8000", 403),
        ("speech.example.org.evil.example", 403),
    ],
)
def test_a_rebound_name_cannot_call_a_container_either(tmp_path: Path, host: str, status: int) -> None:
    """As docker-compose.yml starts it: every address is listened on, and no key is needed."""
    settings = Settings(
        host="0.0.0.0", allow_anonymous=True, allowed_origins="https://speech.example.org", state_dir=tmp_path
    )
    with TestClient(create_app(settings, FakeTranscriber(), DECODERS)) as client:
        assert client.post("/v1/audio/translations", headers={"host": host}).status_code == status
        assert client.get("/v1/jobs", headers={"host": host}).status_code == (200 if status == 400 else 403)
        KeyFile(tmp_path).create("ada")  # from now on it is the key that decides
        assert client.get("/v1/jobs", headers={"host": host}).status_code == 401


def test_an_origin_that_is_allowed(posted: Callable[..., str | None]) -> None:
    both = f"http://other.example, {PAGE}"
    assert posted(both, origin=PAGE) == "unsupported_endpoint"
    assert posted(both, origin=PAGE, host="elsewhere.example") == "unsupported_endpoint"
    assert posted(both, origin=PAGE + ".evil") == "origin_not_allowed"
    assert posted("*", origin="null") == "unsupported_endpoint"


@pytest.mark.parametrize(
    "wrong",
    ["elsewhere.example", "https://a.example/", "https://a.example/path", "https://", "http://[::1", "https://:8443"],
)
def test_what_is_no_origin_ends_the_start(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        Settings(allowed_origins=wrong)


def test_cors_is_off_and_can_be_had(state_dir: Path, secrets: dict[str, str]) -> None:
    """A preflight carries no key and is answered all the same; the answer itself may then be read by the page."""
    preflight = {"origin": PAGE, "access-control-request-method": "POST"}
    with TestClient(create_app(Settings(state_dir=state_dir), FakeTranscriber(), DECODERS)) as client:
        response = client.options("/v1/audio/transcriptions", headers=preflight)
        assert response.status_code == 401
        assert not [name for name in response.headers if name.startswith("access-control")]
    settings = Settings(state_dir=state_dir, allowed_origins=PAGE)
    with TestClient(create_app(settings, FakeTranscriber(), DECODERS)) as client:
        asked = {**preflight, "access-control-request-headers": "authorization, x-stainless-lang"}
        response = client.options("/v1/audio/transcriptions", headers=asked)
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, PAGE)
        assert "authorization" in response.headers["access-control-allow-headers"]
        response = client.get("/v1/nothing", headers={"origin": PAGE, "authorization": f"Bearer {secrets['admin']}"})
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (404, PAGE)
        assert "x-request-id" in response.headers["access-control-expose-headers"]
        response = client.get("/healthz", headers={"origin": "https://third.example"})
        assert "access-control-allow-origin" not in response.headers


# ---- what is kept


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("stream", ["false", "true"])
def test_logs_carry_no_transcript_unless_asked_and_never_a_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: bool, stream: str
) -> None:
    secret = KeyFile(tmp_path).create("ada")
    caplog.set_level(logging.DEBUG)
    settings = Settings(state_dir=tmp_path, log_transcripts=asked, log_level="debug")
    with serving(settings, FakeTranscriber()) as server:
        response = request(
            "POST",
            f"{server.url}/v1/audio/transcriptions",
            headers={"authorization": f"Bearer {secret}"},
            files={"file": ("private name.wav", wav())},
            data={"model": "default", "prompt": "private prompt", "stream": stream},
        )
    assert TEXT in response.text
    logged = caplog.text
    assert response.headers["x-request-id"] in logged
    assert (TEXT in logged) == asked
    assert "private" not in logged
    assert secret not in logged


@pytest.mark.parametrize("by_subprotocol", [False, True])
def test_logs_of_sockets_carry_neither_a_key_nor_what_was_asked_or_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, by_subprotocol: bool
) -> None:
    secret = KeyFile(tmp_path).create("ada")
    caplog.set_level(logging.DEBUG)
    with serving(Settings(state_dir=tmp_path, log_level="debug"), FakeTranscriber()) as server:
        url = f"{server.url.replace('http', 'ws', 1)}/v1/stream?keywords=private"
        header = {} if by_subprotocol else {"authorization": f"Bearer {secret}"}
        protocols = [Subprotocol(name) for name in ("realtime", f"openai-insecure-api-key.{secret}")]
        caplog.clear()
        with connect(
            url,
            proxy=None,
            open_timeout=60,
            additional_headers=header,
            subprotocols=protocols if by_subprotocol else None,
            logger=logging.Logger("client"),
        ) as socket:
            session = json.loads(socket.recv(timeout=60))["session"]
            socket.send('{"type": "private"}')
            assert json.loads(socket.recv(timeout=60))["type"] == "error"
        wait_until(lambda: "-> 400 in" in caplog.text)
    for kept in (secret, session, "private"):
        assert kept not in caplog.text
