"""OpenAI's realtime transcription: the official client against a running server."""

import asyncio
import base64
import contextlib
import json
import pkgutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_type_hints

import openai
import pytest
from openai.resources.realtime.realtime import RealtimeConnection
from openai.types.realtime import AudioTranscriptionParam
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from model.hot_words import HotWords
from service.errors import LONGEST_TEXT, InvalidRequestError
from service.keys import KeyFile
from service.live import LONG_TEXT
from service.realtime import PART_OF_BASE64, decoded
from service.realtime_options import RealtimeOptions
from tests.service.conftest import Server, request, wait_until
from tests.service.fakes import UNSPEAKABLE
from tests.service.test_stream_socket import run_example

HALF_S = 12_000  # samples of half a second at 24 kHz
SOUND = b"\x00\x20" * HALF_S  # the fake hears a word
SILENCE = b"\x00\x00" * HALF_S  # the fake ends an utterance
TRANSCRIPTION = "conversation.item.input_audio_transcription"

# The client opens its socket in a way that websockets 17 finds old-fashioned.
pytestmark = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used as a context manager:DeprecationWarning")

BOTH = ("sync", "asynchronous")

DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]

Event = Any  # a union of dozens of the client's models, read by what they are expected to have


class Awaited:
    """An object of the async client's, used as the sync one is: every call, and every event, is waited for."""

    def __init__(self, wrapped: Any, runner: asyncio.Runner) -> None:
        self._wrapped = wrapped
        self._runner = runner

    def __getattr__(self, name: str) -> "Awaited":
        return Awaited(getattr(self._wrapped, name), self._runner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._runner.run(self._wrapped(*args, **kwargs))

    def __iter__(self) -> Iterator[Event]:
        events = aiter(self._wrapped)

        async def following() -> Event:
            return await anext(events)

        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self._runner.run(following())


class Clients:
    """Both official clients of one server; what one can do, the other can."""

    def __init__(self, url: str, key: str = "none") -> None:
        # The beta's resource takes the address of sockets from here only.
        addresses: Any = {"base_url": f"{url}/v1", "websocket_base_url": f"{url.replace('http', 'ws', 1)}/v1"}
        self.sync = openai.OpenAI(**addresses, api_key=key)
        self.asynchronous = openai.AsyncOpenAI(**addresses, api_key=key)
        self.runner = asyncio.Runner()

    @contextmanager
    def connected(self, which: str, *, beta: bool = False) -> Iterator[Any]:
        """A connection of the client `which`."""
        more: Any = {"extra_query": {"intent": "transcription"}} | ({"model": "whisper-1"} if beta else {})
        client: Any = getattr(self, which)
        connection = (client.beta if beta else client).realtime.connect(**more)
        if which == "sync":
            with connection as opened:
                yield opened
        else:
            opened = self.runner.run(connection.enter())
            try:
                yield Awaited(opened, self.runner)
            finally:
                self.runner.run(opened.close())

    def close(self) -> None:
        self.sync.close()
        self.runner.run(self.asynchronous.close())
        self.runner.close()


@pytest.fixture(scope="module")
def clients(server: Server) -> Iterator[Clients]:
    both = Clients(server.url)
    yield both
    both.close()


@pytest.fixture(params=BOTH)
def connection(clients: Clients, request: pytest.FixtureRequest) -> Iterator[RealtimeConnection]:
    with clients.connected(request.param) as opened:
        yield opened


def test_a_session_says_what_it_is(connection: RealtimeConnection) -> None:
    created: Event = connection.recv()
    assert created.type == "session.created"
    assert created.session.type == "transcription"
    assert created.session.audio.input.format.rate == 24_000
    detection = created.session.audio.input.turn_detection
    assert (detection.threshold, detection.prefix_padding_ms, detection.silence_duration_ms) == (0.5, 300, 500)


def test_server_vad(connection: RealtimeConnection) -> None:
    connection.recv()
    for piece in (SOUND, SOUND, SILENCE + SOUND, SILENCE):
        append(connection, piece)
    events = until(connection, f"{TRANSCRIPTION}.completed", times=2)
    kinds = [event.type.removeprefix("input_audio_buffer.").removeprefix("conversation.item.") for event in events]
    utterance = ["speech_stopped", "committed", "created", "input_audio_transcription.delta"]
    completed = "input_audio_transcription.completed"
    first = ["speech_started", "input_audio_transcription.delta", *utterance, completed]
    assert kinds == [*first, "speech_started", *utterance, completed]
    assert len({event.event_id for event in events}) == len(events)
    one, other = (event for event in events if event.type == f"{TRANSCRIPTION}.completed")
    assert (one.transcript, other.transcript) == ("he hoped", "turnips")
    assert (one.usage.type, one.usage.seconds) == ("duration", 0.9)
    of_one = [event for event in events if getattr(event, "item_id", None) == one.item_id]
    assert "".join(event.delta for event in of_one if event.type == f"{TRANSCRIPTION}.delta") == one.transcript
    starts = [event.audio_start_ms for event in events if event.type == "input_audio_buffer.speech_started"]
    stops = [event.audio_end_ms for event in events if event.type == "input_audio_buffer.speech_stopped"]
    assert (starts, stops) == ([0, 1200], [1400, 2400])  # prefix and silence included, as far as there is audio
    committed = [event for event in events if event.type == "input_audio_buffer.committed"]
    assert [event.previous_item_id for event in committed] == [None, one.item_id]
    items = [event.item for event in events if event.type == "conversation.item.created"]
    assert [item.id for item in items] == [one.item_id, other.item_id]


def test_without_vad_the_client_commits(connection: RealtimeConnection) -> None:
    connection.recv()
    update(connection, turn_detection=None)
    append(connection, SOUND + SILENCE + SOUND * 2)
    connection.input_audio_buffer.commit()
    events = until(connection, f"{TRANSCRIPTION}.completed")
    assert [event.type for event in events] == [
        "input_audio_buffer.committed",
        "conversation.item.created",
        f"{TRANSCRIPTION}.delta",
        f"{TRANSCRIPTION}.completed",
    ]
    assert events[-1].transcript == events[-2].delta == "he turnips and"
    assert events[-1].usage.seconds == 2.0
    append(connection, SILENCE)
    connection.input_audio_buffer.commit()  # what was committed is not told again
    assert until(connection, f"{TRANSCRIPTION}.completed")[-1].transcript == ""


@pytest.mark.parametrize("format_", [{"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}])
def test_a_tenth_of_a_second_can_be_committed_every_time(connection: RealtimeConnection, format_: Any) -> None:
    connection.recv()
    update(connection, format=format_, turn_detection=None)
    tenth = bytes(4800) if "rate" in format_ else b"\xff" * 800
    for _ in range(30):
        append(connection, tenth)
        connection.input_audio_buffer.commit()
        assert until(connection, f"{TRANSCRIPTION}.completed")[-1].usage.seconds == 0.1
    append(connection, tenth[:-2])
    connection.input_audio_buffer.commit()
    assert until(connection, "error")[-1].error.code == "input_audio_buffer_commit_empty"


def test_audio_cut_anywhere_is_heard(connection: RealtimeConnection) -> None:
    connection.recv()
    update(connection, turn_detection=None)
    sound = SOUND * 7
    for first, end in ((0, 1), (1, 2), (2, 2), (2, 100_001), (100_001, len(sound))):
        append(connection, sound[first:end])
    connection.input_audio_buffer.commit()
    completed = until(connection, f"{TRANSCRIPTION}.completed")[-1]
    assert (completed.transcript, completed.usage.seconds) == ("he hoped there would be stew for", 3.5)


@pytest.mark.parametrize("n_bytes", [PART_OF_BASE64 // 4 * 3 + extra for extra in (-1, 0, 1, 2)])
def test_long_audio_is_decoded_as_short_audio_is(n_bytes: int) -> None:
    data = bytes(range(256)) * (n_bytes // 256 + 1)
    text = base64.b64encode(data[:n_bytes]).decode()
    assert decoded(text) == data[:n_bytes]
    for broken in (text[:-1] + "?", "=" + text[1:], text[: PART_OF_BASE64 - 1] + "=" + text, text[:-1] + "é"):
        with pytest.raises(ValueError, match=r"padding|base64|ASCII"):
            decoded(broken)


@pytest.mark.parametrize("reader", ["service.realtime.decoded", "json.loads"])
def test_the_server_answers_others_while_a_long_message_is_read(
    server: Server, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    began, go = threading.Event(), threading.Event()
    in_time = []
    read = pkgutil.resolve_name(reader)

    def slowly(text: str) -> Any:
        if len(text) > LONG_TEXT:
            began.set()
            in_time.append(go.wait(10))
        return read(text)

    with connect(f"{server.url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription", proxy=None) as ws:
        ws.recv(timeout=60)
        monkeypatch.setattr(reader, slowly)
        audio = base64.b64encode(SOUND * 4 + SILENCE).decode()
        ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        assert began.wait(60)
        assert request("GET", f"{server.url}/healthz").status_code == 200
        assert not go.is_set()
        go.set()
        while json.loads(event := ws.recv(timeout=60))["type"] != f"{TRANSCRIPTION}.completed":
            pass
        assert json.loads(event)["transcript"] == "he hoped there would"
    assert in_time == [True]


def test_a_commit_with_vad_ends_the_utterance(connection: RealtimeConnection) -> None:
    connection.recv()
    append(connection, SOUND * 2)
    connection.input_audio_buffer.commit()
    assert until(connection, f"{TRANSCRIPTION}.completed")[-1].transcript == "he hoped"
    append(connection, SOUND + SILENCE)  # times go on from there
    assert until(connection, "input_audio_buffer.speech_started")[-1].audio_start_ms == 700
    assert until(connection, f"{TRANSCRIPTION}.completed")[-1].transcript == "he"
    connection.input_audio_buffer.clear()
    connection.input_audio_buffer.commit()
    error = until(connection, "error")[-1].error
    assert error.code == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize(("format_", "sound"), [("audio/pcmu", b"\x00"), ("audio/pcma", b"\x2a")])
def test_telephone_formats(connection: RealtimeConnection, format_: str, sound: bytes) -> None:
    connection.recv()
    session = update(connection, format={"type": format_}, turn_detection=None).session
    assert session.audio.input.format.type == format_
    append(connection, sound * 8000)
    connection.input_audio_buffer.commit()
    completed = until(connection, f"{TRANSCRIPTION}.completed")[-1]
    assert (completed.transcript, completed.usage.seconds) == ("he hoped", 1.0)


def test_clear_forgets_what_was_not_committed(connection: RealtimeConnection) -> None:
    connection.recv()
    update(connection, turn_detection=None)
    append(connection, SOUND * 3)
    connection.input_audio_buffer.clear()
    assert until(connection, "input_audio_buffer.cleared")
    append(connection, SOUND)
    connection.input_audio_buffer.commit()
    completed = until(connection, f"{TRANSCRIPTION}.completed")[-1]
    assert (completed.transcript, completed.usage.seconds) == ("he", 0.5)


def test_logprobs_where_they_are_wanted(connection: RealtimeConnection) -> None:
    connection.recv()
    connection.session.update(session={"type": "transcription", "include": ["item.input_audio_transcription.logprobs"]})
    append(connection, SOUND + SILENCE)
    completed = until(connection, f"{TRANSCRIPTION}.completed")[-1]
    assert "".join(entry.token for entry in completed.logprobs) == "he"
    update(connection, turn_detection=None)
    append(connection, SOUND + SILENCE + SOUND * 2)
    connection.input_audio_buffer.commit()
    completed = until(connection, f"{TRANSCRIPTION}.completed")[-1]
    assert completed.transcript == "he turnips and"
    assert "".join(entry.token for entry in completed.logprobs) == completed.transcript


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "input_audio_buffer.append", "audio": "?"}, "invalid_audio", "audio"),
        ({"type": "input_audio_buffer.append"}, "invalid_audio", "audio"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "response.create"}, "unknown_event", "type"),
        ({"type": 7}, "invalid_event", "type"),
        ({"type": "session.update", "session": {"type": "realtime"}}, "invalid_value", "session.type"),
        ({"type": "session.update", "session": []}, "invalid_value", "session"),
        ({"type": "session.update", "session": {"voice": "x"}}, "unknown_parameter", "session.voice"),
        ({"type": "session.update", "session": {"\ud800": 1}}, "unknown_parameter", "session.?"),
        (
            {"type": "transcription_session.update", "session": {"input_audio_format": []}},
            "invalid_value",
            "session.input_audio_format",
        ),
        (
            {"type": "transcription_session.update", "session": {"input_audio_transcription": {"languages": 5}}},
            "unsupported_language",
            "session.input_audio_transcription.language",
        ),
    ],
)
def test_what_cannot_be_done_is_told_and_the_session_goes_on(
    connection: RealtimeConnection, event: dict[str, Any], code: str, param: str | None
) -> None:
    connection.recv()
    connection.send({"event_id": "mine", **event})  # type: ignore[arg-type]  # wrong on purpose
    error: Event = connection.recv()
    assert error.type == "error"
    assert (error.error.code, error.error.param, error.error.event_id) == (code, param, "mine")
    append(connection, SOUND + SILENCE)
    assert until(connection, f"{TRANSCRIPTION}.completed")[-1].transcript == "he"


@pytest.mark.parametrize(
    ("input_", "code", "param"),
    [
        ({"format": {"type": "audio/mp3"}}, "invalid_value", "format.type"),
        ({"format": {"type": "audio/pcm", "rate": 16_000}}, "invalid_value", "format.rate"),
        ({"transcription": {"model": "nobody"}}, "model_not_found", "transcription.model"),
        ({"transcription": {"language": "de"}}, "unsupported_language", "transcription.language"),
        ({"transcription": {"language": ["en"]}}, "unsupported_language", "transcription.language"),
        ({"transcription": {"languages": ["de", 5]}}, "unsupported_language", "transcription.language"),
        ({"transcription": {"keywords": "Ishmael"}}, "invalid_keywords", "transcription.keywords"),
        ({"transcription": {"keywords": ["Ishmael", 7]}}, "invalid_keywords", "transcription.keywords"),
        ({"transcription": {"keywords": [" "]}}, "invalid_keywords", "transcription.keywords"),
        ({"transcription": {"keywords": ["x"] * 101}}, "invalid_keywords", "transcription.keywords"),
        ({"transcription": {"keywords": [UNSPEAKABLE]}}, "invalid_keywords", "transcription.keywords"),
        ({"transcription": {"keyword_boost": 21}}, "invalid_keywords", "transcription.keywords"),
        ({"transcription": {"keyword_boost": True}}, "invalid_value", "transcription.keyword_boost"),
        ({"turn_detection": {"type": "semantic_vad"}}, "invalid_value", "turn_detection.type"),
        ({"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}, "invalid_value", "turn_detection.type"),
        ({"turn_detection": {"type": "server_vad", "threshold": 2}}, "invalid_value", "turn_detection.threshold"),
        (
            {"turn_detection": {"type": "server_vad", "silence_duration_ms": 199}},
            "invalid_value",
            "turn_detection.silence_duration_ms",
        ),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    connection: RealtimeConnection, input_: Any, code: str, param: str
) -> None:
    connection.recv()
    connection.session.update(session={"type": "transcription", "audio": {"input": input_}})
    error = until(connection, "error")[-1].error
    assert (error.code, error.param) == (code, f"session.audio.input.{param}")


def test_every_model_that_the_client_knows(connection: RealtimeConnection) -> None:
    connection.recv()
    _, names = get_args(get_type_hints(AudioTranscriptionParam)["model"])  # any text, or one of these
    for model in get_args(names):
        if "diarize" not in model:  # which would mean to tell speakers apart
            update(connection, transcription={"model": model})


def test_an_update_in_the_middle_of_a_sample_loses_no_half_of_it(connection: RealtimeConnection) -> None:
    """All that follows would be heard from halves of two samples each, which is noise."""
    connection.recv()
    update(connection, turn_detection=None)
    append(connection, SOUND[:2401])
    update(connection, transcription={"keywords": ["Ishmael"]})
    append(connection, SOUND[2401:4800])  # a tenth of a second in all, the least that can be committed
    connection.input_audio_buffer.commit()
    until(connection, f"{TRANSCRIPTION}.completed")


@pytest.mark.parametrize("said", [{"language": "EN"}, {"language": " en "}, {"languages": ["DE", "En"]}])
def test_a_language_is_written_as_in_a_form(connection: RealtimeConnection, said: dict[str, Any]) -> None:
    connection.recv()
    update(connection, transcription=said)


def test_the_pause_that_ends_an_utterance_can_be_set(connection: RealtimeConnection) -> None:
    connection.recv()
    detection = {"type": "server_vad", "silence_duration_ms": 200, "prefix_padding_ms": 0}
    updated = update(connection, turn_detection=detection, transcription={"model": "whisper-1", "language": "en"})
    assert updated.session.audio.input.turn_detection.silence_duration_ms == 200
    assert updated.session.audio.input.transcription.model == "whisper-1"


def test_keywords_are_preferred(connection: RealtimeConnection, server: Server) -> None:
    connection.recv()
    told = update(connection, transcription={"keywords": ["Ishmael", "Birket Foster"]}).session.audio.input
    assert told.transcription.keywords == ["Ishmael", "Birket Foster"]
    assert server.fake.hot_words == HotWords(("Ishmael", "Birket Foster"))
    update(connection, transcription={"keyword_boost": 3})  # the words stay
    assert server.fake.hot_words == HotWords(("Ishmael", "Birket Foster"), 3.0)
    update(connection, turn_detection=None)
    connection.input_audio_buffer.clear()
    assert until(connection, "input_audio_buffer.cleared")
    assert server.fake.hot_words == HotWords(("Ishmael", "Birket Foster"), 3.0)
    assert update(connection, transcription={"keywords": []}).session.audio.input.transcription.keywords is None
    assert server.fake.hot_words is None


def test_keywords_end_the_utterance_before(connection: RealtimeConnection) -> None:
    connection.recv()
    append(connection, SOUND * 2)
    connection.session.update(
        session={"type": "transcription", "audio": {"input": {"transcription": {"keywords": ["Ishmael"]}}}}
    )
    events = until(connection, "session.updated")
    completed = [event.transcript for event in events if event.type == f"{TRANSCRIPTION}.completed"]
    assert completed == ["he hoped"]
    append(connection, SOUND + SILENCE)
    assert until(connection, f"{TRANSCRIPTION}.completed")[-1].transcript == "he"


def test_what_was_not_committed_yet_is_told_when_turns_are_detected(connection: RealtimeConnection) -> None:
    connection.recv()
    update(connection, turn_detection=None)
    append(connection, SOUND * 2)
    update(connection, transcription={"keywords": ["Ishmael"]})  # still for the commit
    append(connection, SILENCE)
    connection.session.update(
        session={"type": "transcription", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}}
    )
    events = until(connection, "session.updated")
    assert [event.type.rpartition(".")[2] for event in events] == [
        "committed",
        "created",
        "delta",
        "completed",
        "updated",
    ]
    assert (events[3].transcript, events[3].usage.seconds) == ("he hoped", 1.5)
    append(connection, SOUND)
    connection.input_audio_buffer.commit()
    completed = until(connection, f"{TRANSCRIPTION}.completed")[-1]
    assert (completed.transcript, completed.usage.seconds) == ("he", 0.4)


@pytest.mark.parametrize(
    "input_", [{"format": {"type": DEEP}}, {"format": {"rate": DEEP}}, {"turn_detection": {"threshold": DEEP}}]
)
def test_what_is_too_deep_to_be_written_is_refused_like_anything_else(input_: dict[str, Any]) -> None:
    """Events are read in a thread, with all of its stack to itself, and may be deeper than can be written elsewhere."""
    with pytest.raises(InvalidRequestError) as caught:
        RealtimeOptions().updated({"audio": {"input": input_}})
    assert len(str(caught.value)) < 200


def test_what_a_client_names_its_event_is_told_as_far_as_it_can_be(connection: RealtimeConnection) -> None:
    connection.recv()
    for event_id, told in (("\ud800", "?"), ("x" * 9_000, "x" * LONGEST_TEXT + "…"), (5, None)):
        connection.send({"event_id": event_id, "type": "unknown"})  # type: ignore[arg-type]  # wrong on purpose
        event: Event = connection.recv()
        assert (event.error.code, event.error.event_id) == ("unknown_event", told)


def test_an_error_of_ours_fails_the_item(start_server: Callable[..., Server]) -> None:
    server = start_server()
    server.fake.error = RuntimeError("/secret")
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        connection.recv()
        append(connection, SOUND)
        failed = until(connection, f"{TRANSCRIPTION}.failed")[-1]
        assert failed.error.code == "internal_error"
        assert until(connection, "error")[-1].error.code == "internal_error"


def test_the_async_client_speaks_and_listens_at_once(clients: Clients) -> None:
    """Two connections of one client, each sending while it reads, as an application does."""

    async def hear(sound: bytes) -> list[str]:
        heard: list[str] = []
        async with clients.asynchronous.realtime.connect(extra_query={"intent": "transcription"}) as connection:

            async def speak() -> None:
                for first in range(0, len(sound), 4_800):
                    audio = base64.b64encode(sound[first : first + 4_800]).decode()
                    await connection.input_audio_buffer.append(audio=audio)

            speaking = asyncio.create_task(speak())
            event: Event
            async for event in connection:
                if event.type == f"{TRANSCRIPTION}.completed":
                    heard.append(event.transcript)
                    if len(heard) == 2:
                        break
            await speaking
        return heard

    async def both() -> list[list[str]]:
        talks = (SOUND * 2 + SILENCE + SOUND + SILENCE, SOUND * 3 + SILENCE * 2 + SOUND * 2 + SILENCE)
        return await asyncio.gather(*(hear(talk) for talk in talks))

    assert clients.runner.run(both()) == [["he hoped", "turnips"], ["he hoped there", "turnips and"]]


@pytest.mark.parametrize("which", BOTH)
def test_the_clients_of_the_beta(clients: Clients, server: Server, which: str) -> None:
    """Both have a resource of their own for it, with the shapes of then."""
    with clients.connected(which, beta=True) as connection:
        connection.transcription_session.update(
            session={
                "input_audio_format": "g711_ulaw",
                "turn_detection": None,
                "input_audio_transcription": {"keywords": ["Ishmael"]},
                "modalities": ["text"],
            },
        )
        append(connection, b"\x00" * 8000)
        connection.input_audio_buffer.commit()
        events = until(connection, f"{TRANSCRIPTION}.completed")
    assert [event.type for event in events] == [
        "session.created",
        "transcription_session.updated",
        "input_audio_buffer.committed",
        "conversation.item.created",
        f"{TRANSCRIPTION}.delta",
        f"{TRANSCRIPTION}.completed",
    ]
    assert events[1].session.input_audio_format == "g711_ulaw"
    assert server.fake.hot_words == HotWords(("Ishmael",))
    assert events[-1].transcript == "he hoped"


def test_a_wrong_key_opens_nothing(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    secret = KeyFile(tmp_path).create("ada")
    server = start_server(state_dir=tmp_path)
    right, wrong = Clients(server.url, secret), Clients(server.url, "wrong")
    for which in BOTH:
        with right.connected(which) as connection:
            assert connection.recv().type == "session.created"
        with pytest.raises(InvalidStatus) as refused, wrong.connected(which):
            pass
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"
    for clients in (right, wrong):
        clients.close()


def test_the_beta_is_understood_too(server: Server) -> None:
    with connect(f"{server.url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription", proxy=None) as ws:
        assert json.loads(ws.recv(timeout=60))["type"] == "session.created"
        session = {"input_audio_format": "g711_ulaw", "turn_detection": None}
        ws.send(json.dumps({"type": "transcription_session.update", "session": session}))
        updated = json.loads(ws.recv(timeout=60))
        assert updated["type"] == "transcription_session.updated"
        assert updated["session"]["input_audio_format"] == "g711_ulaw"
        ws.send(json.dumps({"type": "transcription_session.update", "session": updated["session"]}))  # as it was told
        assert json.loads(ws.recv(timeout=60))["session"] == updated["session"]
        for broken in ("{", b"\x00", '"text"'):
            ws.send(broken)
            assert json.loads(ws.recv(timeout=60))["type"] == "error"


def test_there_is_nobody_to_talk_with(server: Server) -> None:
    with connect(f"{server.url.replace('http', 'ws', 1)}/v1/realtime?model=gpt-realtime", proxy=None) as ws:
        assert json.loads(ws.recv(timeout=60))["error"]["code"] == "unsupported_intent"
        with pytest.raises(Exception, match="unsupported_intent"):
            ws.recv(timeout=60)
        assert ws.close_code == 4400


@pytest.mark.parametrize("path", ["/realtime?intent=transcription", "/v1/realtime/?intent=transcription", "/v1/models"])
def test_an_address_without_a_socket_is_told(server: Server, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(server.url.replace("http", "ws", 1) + path, proxy=None):
        pass
    response = refused.value.response
    assert (response.status_code, json.loads(response.body)["error"]["code"]) == (404, "unknown_url")
    assert response.headers["x-request-id"].startswith("req_")


def test_sockets_of_both_kinds_share_their_places(start_server: Callable[..., Server]) -> None:
    server = start_server(max_sockets=1)
    url = server.url.replace("http", "ws", 1)
    with connect(f"{url}/v1/realtime?intent=transcription", proxy=None) as ws:
        ws.recv(timeout=60)
        for path in ("/v1/stream", "/v1/realtime?intent=transcription"):
            with connect(url + path, proxy=None) as other:
                assert json.loads(other.recv(timeout=60))["error"]["code"] == "too_many_sockets"


def test_a_client_that_goes_away_frees_its_place_while_its_audio_is_heard(start_server: Callable[..., Server]) -> None:
    server = start_server(max_sockets=1)
    url = f"{server.url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription"
    server.fake.hold()
    with connect(url, proxy=None) as ws:
        ws.recv(timeout=60)
        session = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        ws.send(json.dumps({"type": "session.update", "session": session}))
        audio = base64.b64encode(SOUND * 20).decode()
        ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        ws.socket.shutdown(socket.SHUT_RDWR)

    def has_room() -> bool:
        with connect(url, proxy=None) as other:
            return bool(json.loads(other.recv(timeout=60))["type"] == "session.created")

    wait_until(has_room, limit_s=10)


def test_the_client_of_the_documentation(server: Server) -> None:
    assert run_example(server, "realtime.connect", SOUND * 2) == ["he hoped"]


def append(connection: RealtimeConnection, audio: bytes) -> None:
    connection.input_audio_buffer.append(audio=base64.b64encode(audio).decode())


def update(connection: RealtimeConnection, **input_: Any) -> Event:
    session: Any = {"type": "transcription", "audio": {"input": input_}}
    connection.session.update(session=session)
    return until(connection, "session.updated")[-1]


def until(connection: RealtimeConnection, kind: str, times: int = 1) -> list[Event]:
    """Events up to the one of this kind."""
    events: list[Event] = []
    for event in connection:
        events.append(event)
        if event.type == kind:
            times -= 1
        if not times:
            return events
        assert kind == "error" or event.type != "error", event
    raise AssertionError(f"the connection ended before {kind}")
