"""A key that is no good any more ends the sockets that were opened with it, while they are open."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import openai
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from service.keys import KeyFile
from service.state import replace_file
from tests.service.conftest import Server, wait_until

SOUND = b"\x00\x20" * 8_000  # half a second at 16 kHz
PATHS = ("/v1/stream?rate=16000", "/v1/realtime?intent=transcription")

# What becomes of a key, and how its sockets are closed.
CHANGES: dict[str, tuple[dict[str, Any], int, str]] = {
    "expired": ({"expires_at": 1}, 4401, "invalid_api_key"),
    "rotated": ({"sha256": "0" * 64}, 4401, "invalid_api_key"),
    "demoted": ({"scopes": ["jobs"]}, 4403, "insufficient_scope"),
}


def test_open_sockets_end_with_their_keys(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    keys = KeyFile(tmp_path)
    secrets = {name: keys.create(name) for name in (*CHANGES, "revoked", "talking", "kept")}
    server = start_server(state_dir=tmp_path)
    with ExitStack() as stack:
        sockets = {
            (name, path): stack.enter_context(opened(server, path, secret))
            for name, secret in secrets.items()
            for path in PATHS
        }
        for socket in sockets.values():
            assert received(socket)["type"] in ("ready", "session.created")
        change(keys, {name: fields for name, (fields, _, _) in CHANGES.items()})
        keys.revoke("revoked")
        keys.revoke("talking")
        for (name, path), socket in sockets.items():
            _, code, reason = CHANGES.get(name, ({}, 4401, "invalid_api_key"))
            if name == "kept":
                continue
            if name == "talking":  # who sends without a pause is asked as well
                talk(socket, SOUND if path == PATHS[0] else '{"type": "input_audio_buffer.clear"}')
            error = rest(socket)[-1]
            assert (error["type"], error["error"]["code"]) == ("error", reason), (name, path)
            assert (socket.close_code, socket.close_reason) == (code, reason), (name, path)
        sockets["kept", PATHS[0]].send(SOUND)
        sockets["kept", PATHS[0]].send('{"type": "end"}')
        assert [message["type"] for message in rest(sockets["kept", PATHS[0]])] == ["partial", "final", "done"]
        sockets["kept", PATHS[1]].send('{"type": "input_audio_buffer.clear"}')
        assert received(sockets["kept", PATHS[1]])["type"] == "input_audio_buffer.cleared"


def test_after_a_rotation_the_stream_goes_on_with_the_new_secret(
    tmp_path: Path, start_server: Callable[..., Server]
) -> None:
    keys = KeyFile(tmp_path)
    server = start_server(state_dir=tmp_path, max_sockets=1)
    with opened(server, PATHS[0], keys.create("ada")) as before:
        session = received(before)["session"]
        before.send(SOUND * 2)
        heard = received(before)
        fresh = keys.rotate("ada", grace_s=0)
        assert rest(before)[-1]["error"]["message"] == "The key is not valid: it is unknown, revoked or expired."
    with opened(server, f"{PATHS[0]}&session={session}&seq={heard['seq']}", fresh) as after:
        assert received(after)["bytes"] == 2 * len(SOUND)
        after.send('{"type": "end"}')
        assert [message["text"] for message in rest(after) if message["type"] == "final"] == ["he hoped"]


def test_with_the_first_key_nobody_stays_without_one(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    server = start_server(state_dir=tmp_path)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client, opened(server, PATHS[0], "") as socket:
        assert received(socket)["type"] == "ready"
        assert client.models.list().data
        KeyFile(tmp_path).create("ada")
        assert rest(socket)[-1]["error"]["code"] == "invalid_api_key"


def test_one_key_cannot_take_all_places(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    keys = KeyFile(tmp_path)
    many, one = keys.create("many"), keys.create("one", concurrency=1)
    server = start_server(state_dir=tmp_path, max_sockets=4, max_per_key=2, resume_s=0)

    def refused(secret: str) -> bool:
        """Whether one more is; it is closed in either case."""
        with opened(server, PATHS[0], secret) as socket:
            first = received(socket)
            assert first["type"] == "ready" or not rest(socket)
            assert first["type"] == "ready" or socket.close_code == 4429
            return bool(first["type"] == "error" and first["error"]["code"] == "concurrency_limit")

    with ExitStack() as stack:
        for secret, path in ((many, PATHS[0]), (many, PATHS[1]), (one, PATHS[1])):
            socket = stack.enter_context(opened(server, path, secret))
            assert received(socket)["type"] in ("ready", "session.created")
        assert refused(many)
        assert refused(one)
        assert not refused(keys.create("other"))
    wait_until(lambda: not refused(one))
    wait_until(lambda: not refused(many))


@contextmanager
def opened(server: Server, path: str, secret: str) -> Iterator[ClientConnection]:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    url = server.url.replace("http", "ws", 1) + path
    with connect(url, proxy=None, open_timeout=60, close_timeout=5, additional_headers=headers) as socket:
        yield socket


def change(file: KeyFile, changes: dict[str, dict[str, Any]]) -> None:
    """Edit keys in the file as nothing but `cepstra keys` does in one step."""
    contents = json.loads(file.path.read_text())
    for key in contents["keys"]:
        key |= changes.get(key["name"], {})
    replace_file(file.path, json.dumps(contents).encode())


def talk(socket: ClientConnection, message: str | bytes) -> None:
    """Send until the server closes."""
    try:
        for _ in range(600):
            socket.send(message)
            time.sleep(0.05)
    except ConnectionClosed:
        return


def received(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(socket.recv(timeout=60))
    return message


def rest(socket: ClientConnection) -> list[dict[str, Any]]:
    """Everything until the server closes."""
    messages = []
    try:
        while True:
            messages.append(received(socket))
    except ConnectionClosed:
        return messages
