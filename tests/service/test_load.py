"""What happens when there is more work than workers, when clients leave, and before the model is there."""

import json
import pkgutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi.testclient import TestClient

from features.audio_stream import AudioStream
from features.errors import CorruptAudioError
from model.cancellation import CancelToken
from model.hot_words import HotWords
from model.transcript import Transcript
from service.app import create_app
from service.recent_transcripts import RecentTranscripts
from service.settings import Settings
from tests.service.conftest import DECODERS, Server, request, wait_until
from tests.service.fakes import TEXT, FakeTranscriber, transcript_of, wav
from tests.service.test_uploads import PATH, connected, post


@contextmanager
def held_requests(server: Server, count: int) -> Iterator[Callable[[], list[int]]]:
    """`count` requests in flight that the model does not finish; yields what releases them and gives their statuses."""
    server.fake.hold()
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(post, server) for _ in range(count)]

        def finish() -> list[int]:
            server.fake.release()
            return [future.result().status_code for future in futures]

        try:
            yield finish
        finally:
            server.fake.release()


def test_a_full_line_is_429(start_server: Callable[..., Server]) -> None:
    server = start_server(remember_s=0, workers=1, max_waiting=1)
    with held_requests(server, 1) as finish_first:
        wait_until(lambda: server.fake.running == 1)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(post, server)
            wait_until(lambda: full(server))
            with (
                openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
                pytest.raises(openai.RateLimitError, match="CEPSTRA_MAX_WAITING") as caught,
            ):
                client.audio.transcriptions.create(file=("a.wav", wav()), model="whisper-1")
            assert caught.value.code == "queue_full"
            assert int(caught.value.response.headers["retry-after"]) >= 1
            assert request("GET", f"{server.url}/healthz").status_code == 200
            assert finish_first() == [200]
            assert second.result().status_code == 200
    assert post(server).json()["text"] == TEXT


def full(server: Server) -> bool:
    """Refused before the form is looked at: an empty one is enough to ask."""
    return request("POST", server.url + PATH).status_code == 429


@pytest.mark.parametrize("path", [PATH, "/v1/jobs"])
def test_uploads_that_are_still_being_sent_are_bounded(
    start_server: Callable[..., Server], tmp_path: Path, path: str
) -> None:
    """What waits on disk is as much as may wait in the line, also where nobody has sent all of theirs."""
    server = start_server(workers=1, max_waiting=1, state_dir=tmp_path)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n"
    begun = f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + form(wav())[:1000]

    def refused() -> bool:
        response = request("POST", server.url + path)
        assert response.status_code in (415, 429)
        return response.status_code == 429

    with connected(server) as first, connected(server) as second:
        first.sendall(begun)
        second.sendall(begun)
        assert not refused()  # who sends slowly has no place before much of it is there
        first.sendall(bytes(1_100_000))
        second.sendall(bytes(1_100_000))
        wait_until(refused)
        response = request("POST", server.url + path)
        assert response.json()["error"]["code"] == "queue_full"
        assert int(response.headers["retry-after"]) >= 1
    wait_until(lambda: not refused())  # they have hung up


def test_the_client_retries_by_itself(start_server: Callable[..., Server]) -> None:
    """A 429 is honoured by the SDK: it waits and sends again, and no answer is lost."""
    server = start_server(remember_s=0, workers=1, max_waiting=0)
    with held_requests(server, 1) as finish:
        wait_until(lambda: server.fake.running == 1)
        assert full(server)
        with (
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=5) as client,
            ThreadPoolExecutor(1) as pool,
        ):
            answer = pool.submit(client.audio.transcriptions.create, file=("a.wav", wav()), model="whisper-1")
            assert finish() == [200]
            assert answer.result().text == TEXT


def test_two_workers_run_at_once(start_server: Callable[..., Server]) -> None:
    server = start_server(remember_s=0, workers=2)
    with held_requests(server, 3) as finish:
        wait_until(lambda: server.fake.running == 2)
        assert finish() == [200, 200, 200]


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_client_that_leaves_frees_its_worker(start_server: Callable[..., Server], stream: str) -> None:
    server = start_server(remember_s=0, workers=1, heartbeat_s=0.1)
    server.fake.hold()
    with connected(server) as connection:
        body = form(wav(), stream)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + body)
        wait_until(lambda: server.fake.running == 1)
    wait_until(lambda: server.fake.running == 0)  # although the model is still held
    server.fake.release()
    assert post(server).json()["text"] == TEXT


def test_a_client_that_leaves_while_uploading(start_server: Callable[..., Server]) -> None:
    server = start_server()
    with connected(server) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + form(wav())[:1000])
    assert post(server).json()["text"] == TEXT


def test_heartbeats_tell_progress(start_server: Callable[..., Server]) -> None:
    server = start_server(heartbeat_s=0.05)
    server.fake.hold()
    with (
        httpx.Client(verify=False) as client,
        client.stream(
            "POST", server.url + PATH, files={"file": ("a.wav", wav())}, data={"model": "default", "stream": "true"}
        ) as response,
    ):
        lines = []
        for line in response.iter_lines():
            lines.append(line)
            if line == ": progress 0.50":
                server.fake.release()
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert ": progress 0.50" in lines
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["text"] == TEXT


def test_a_client_that_hangs_up_before_its_stream_begins_frees_its_place_at_once(
    start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.routes.transcriptions.EARLY_FAILURE_S", 60.0)
    server = start_server(heartbeat_s=60)
    server.fake.hold()
    body = form(wav(), stream="true")
    with connected(server) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + body)
        wait_until(lambda: server.fake.running == 1)
    wait_until(lambda: server.fake.running == 0, limit_s=10)


@pytest.mark.parametrize(
    ("writer", "fields"),
    [
        ("service.routes.transcriptions.render", {"response_format": "verbose_json"}),
        ("service.event_stream.events", {"stream": "true"}),
    ],
)
def test_the_server_answers_others_while_an_answer_is_written(
    start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, writer: str, fields: dict[str, Any]
) -> None:
    server = start_server()
    written = post(server, **fields).text
    began, go = threading.Event(), threading.Event()
    in_time = []
    write = pkgutil.resolve_name(writer)

    def slowly(*args: Any, **kwargs: Any) -> Any:
        began.set()
        in_time.append(go.wait(10))
        return write(*args, **kwargs)

    monkeypatch.setattr(writer, slowly)
    monkeypatch.setattr("service.writing.LONG_S", 0.0)  # as if it had hours
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, server, **fields)
        assert began.wait(60)
        assert request("GET", f"{server.url}/healthz").status_code == 200
        go.set()
        assert answer.result().text == written
    assert in_time == [True]


class SlowToLoad(FakeTranscriber):
    """Warm-up does not end before `release()`."""

    def transcribe(
        self,
        audio: bytes | str | PathLike[str] | AudioStream,
        *,
        progress: Callable[[float], None] | None = None,
        cancelled: CancelToken | None = None,
        hot_words: HotWords | None = None,
        alternatives: int = 0,
    ) -> Transcript:
        while not self._go.wait(0.02):
            pass
        return super().transcribe(
            audio, progress=progress, cancelled=cancelled, hot_words=hot_words, alternatives=alternatives
        )


def test_before_the_model_is_ready() -> None:
    """The server answers at once; everything that needs the model says 503 until it is warm."""
    fake = SlowToLoad()
    fake.hold()
    with TestClient(create_app(Settings(), fake, DECODERS)) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        for response in (
            client.get("/readyz"),
            client.get("/v1/models"),
            client.post(PATH, files={"file": b"x"}, data={"model": "default"}),
        ):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "not_ready"
            assert response.headers["retry-after"]
        fake.release()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/readyz").json() == {"status": "ready", "model": "fake-base", "alternatives": True}


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    app = create_app(Settings(bundle=tmp_path / "secret"))
    failed = threading.Event()
    app.state.served.on_failure = failed.set
    with TestClient(app) as client:
        assert failed.wait(60)
        response = client.get("/readyz")
    assert response.status_code == 503
    assert "could not be loaded" in response.json()["error"]["message"]
    assert "secret" not in response.text


def test_bad_audio_is_not_remembered(start_server: Callable[..., Server]) -> None:
    server = start_server()
    server.fake.error = CorruptAudioError("breaks off")
    assert post(server).status_code == 400
    server.fake.error = None
    assert post(server).json()["text"] == TEXT


def test_recent_transcripts_age_and_are_bounded() -> None:
    now_s = 0.0
    recent = RecentTranscripts(keep_s=10, max_audio_s=100, clock=lambda: now_s)
    first, second, third = (Transcript(name, (), 40.0) for name in "abc")
    recent.put(b"a", first)
    now_s = 5.0
    recent.put(b"b", second)
    assert (recent.get(b"a"), recent.get(b"b"), recent.get(b"c")) == (first, second, None)
    recent.put(b"c", third)  # 120 s of audio: the oldest goes
    assert (recent.get(b"a"), recent.get(b"b"), recent.get(b"c")) == (None, second, third)
    now_s = 15.0
    assert (recent.get(b"b"), recent.get(b"c")) == (None, None)


def test_a_transcript_with_alternatives_does_for_those_that_want_fewer() -> None:
    recent = RecentTranscripts(keep_s=10, max_audio_s=100)
    most, fewer, none = (transcript_of(["he hoped there would"], alternatives=count) for count in (2, 1, 0))
    assert len({most, fewer, none}) == 3
    recent.put(b"a", most, alternatives=2)
    assert [recent.get(b"a", alternatives) for alternatives in (0, 1, 2, 3)] == [none, fewer, most, None]


def form(audio: bytes, stream: str = "false") -> bytes:
    fields = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {"model": "default", "stream": stream}.items()
    )
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%s\r\n--b--\r\n' % audio
    return fields.encode() + file
