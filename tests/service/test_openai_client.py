"""The official `openai` package, unchanged but for `base_url`, against a running server."""

import asyncio
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, get_args

import openai
import pytest
from openai.types import AudioModel
from openai.types.audio import Transcription, TranscriptionVerbose

from model.hot_words import LONGEST_TERM, HotWords
from service.registry import ALIASES
from tests.service.caption_readers import read_srt, read_vtt, text_of
from tests.service.conftest import Server
from tests.service.fakes import SENTENCES, TEXT, wav


class Caller(Protocol):
    """One of the official clients, as the tests call it; a stream comes as the list of its events."""

    def transcribe(self, **fields: Any) -> Any: ...
    def translate(self, **fields: Any) -> Any: ...
    def models(self) -> list[Any]: ...
    def model(self, name: str) -> Any: ...
    def delete(self, name: str) -> Any: ...


class Sync:
    def __init__(self, url: str) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def transcribe(self, **fields: Any) -> Any:
        answer = self._client.audio.transcriptions.create(**fields)
        return list(answer) if isinstance(answer, openai.Stream) else answer

    def translate(self, **fields: Any) -> Any:
        return self._client.audio.translations.create(**fields)

    def models(self) -> list[Any]:
        return list(self._client.models.list())

    def model(self, name: str) -> Any:
        return self._client.models.retrieve(name)

    def delete(self, name: str) -> Any:
        return self._client.models.delete(name)

    def close(self) -> None:
        self._client.close()


class Async:
    """Every call on one event loop, to its end."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def transcribe(self, **fields: Any) -> Any:
        async def run() -> Any:
            answer = await self._client.audio.transcriptions.create(**fields)
            return [event async for event in answer] if isinstance(answer, openai.AsyncStream) else answer

        return self._runner.run(run())

    def translate(self, **fields: Any) -> Any:
        return self._runner.run(self._client.audio.translations.create(**fields))

    def models(self) -> list[Any]:
        async def run() -> list[Any]:
            return [model async for model in self._client.models.list()]

        return self._runner.run(run())

    def model(self, name: str) -> Any:
        return self._runner.run(self._client.models.retrieve(name))

    def delete(self, name: str) -> Any:
        return self._runner.run(self._client.models.delete(name))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(scope="module", params=[Sync, Async])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Caller]:
    """Both official clients: what one can do, the other can."""
    connected = request.param(server.url)
    yield connected
    connected.close()


CLIP = ("speech.wav", wav(2.0))
SILENCE = ("silence.wav", wav(2.0, amplitude=0))


def test_json(client: Caller) -> None:
    answer = client.transcribe(file=CLIP, model="whisper-1")
    assert isinstance(answer, Transcription)
    assert answer.text == TEXT
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == 2.0
    assert answer.logprobs is None


def test_text(client: Caller) -> None:
    answer = client.transcribe(file=CLIP, model="default", response_format="text")
    assert answer == TEXT + "\n"


def test_captions(client: Caller) -> None:
    create = client.transcribe
    as_srt = str(create(file=CLIP, model="fake-base", response_format="srt"))
    as_vtt = str(create(file=CLIP, model="fake-base", response_format="vtt"))
    assert text_of(read_srt(as_srt)) == TEXT
    assert read_vtt(as_vtt) == read_srt(as_srt)


def test_verbose_json_has_segments_and_words_by_default(client: Caller) -> None:
    answer = client.transcribe(file=CLIP, model="whisper-1", response_format="verbose_json")
    assert isinstance(answer, TranscriptionVerbose)
    assert (answer.text, answer.language, answer.duration) == (TEXT, "en", 2.0)
    assert answer.segments is not None
    assert [segment.text for segment in answer.segments] == list(SENTENCES)
    assert all(None not in segment.model_dump().values() for segment in answer.segments)
    assert [word.word for word in answer.words or []] == TEXT.split()
    segments = client.transcribe(
        file=CLIP, model="whisper-1", response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert segments.segments
    assert segments.words is None


def test_timestamp_granularities_arrive(client: Caller) -> None:
    words = client.transcribe(
        file=CLIP, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert words.segments is None
    assert words.words is not None
    assert [word.word for word in words.words] == TEXT.split()
    assert all(word.start < word.end for word in words.words)
    assert words.words[0].model_dump()["confidence"] == 0.98
    both = client.transcribe(
        file=CLIP, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert both.segments
    assert both.words


def test_include_logprobs(client: Caller) -> None:
    answer = client.transcribe(file=CLIP, model="whisper-1", include=["logprobs"])
    assert answer.logprobs is not None
    assert "".join(entry.token or "" for entry in answer.logprobs) == TEXT


def test_what_is_ignored_is_accepted(client: Caller) -> None:
    answer = client.transcribe(
        file=CLIP,
        model="whisper-1",
        language="en",
        prompt="stew",
        temperature=0.2,
        languages=["en", "de"],
        chunking_strategy={"type": "server_vad", "silence_duration_ms": 300, "threshold": 0.5},
    )
    assert answer.text == TEXT
    assert client.transcribe(file=CLIP, model="whisper-1", chunking_strategy="auto").text == TEXT


def test_alternatives_reach_the_model(client: Caller, server: Server) -> None:
    asked = {"alternatives": "3"}
    client.transcribe(file=CLIP, model="whisper-1", response_format="verbose_json", extra_body=asked)
    assert server.fake.alternatives == 3
    with pytest.raises(openai.BadRequestError) as caught:
        client.transcribe(file=CLIP, model="whisper-1", extra_body=asked)
    assert caught.value.param == "alternatives"


def test_keywords_reach_the_model(client: Caller, server: Server) -> None:
    client.transcribe(file=CLIP, model="whisper-1", keywords=["Mutton", "Birket Foster"])
    assert server.fake.hot_words == HotWords(("Mutton", "Birket Foster"))
    boost = {"keyword_boost": "7.5"}
    client.transcribe(file=CLIP, model="whisper-1", keywords=["Mutton"], extra_body=boost)
    assert server.fake.hot_words == HotWords(("Mutton",), 7.5)


def test_keywords_that_are_too_long_are_a_400(client: Caller) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.transcribe(file=CLIP, model="whisper-1", keywords=["x" * (LONGEST_TERM + 1)])
    assert raised.value.param == "keywords"
    assert raised.value.code == "invalid_keywords"


def test_formatting(client: Caller) -> None:
    create = client.transcribe
    answer = create(file=CLIP, model="whisper-1", keywords=["Mutton"], extra_body={"formatting": "captions"})
    assert answer.text == " ".join(sentence.capitalize() for sentence in SENTENCES).replace("mutton", "Mutton")
    assert create(file=CLIP, model="whisper-1", extra_body={"formatting": "raw"}).text == TEXT


def test_silence_is_empty(client: Caller) -> None:
    assert client.transcribe(file=SILENCE, model="whisper-1").text == ""
    verbose = client.transcribe(file=SILENCE, model="whisper-1", response_format="verbose_json")
    assert verbose.segments == []


def test_every_name_that_the_client_knows(client: Caller) -> None:
    for model in get_args(AudioModel):
        if "diarize" not in model:  # which would mean to tell speakers apart
            assert client.transcribe(file=CLIP, model=model).text == TEXT


def test_stream(client: Caller) -> None:
    deltas, done = [], []
    for event in client.transcribe(
        file=CLIP, model="whisper-1", stream=True, include=["logprobs"], response_format="json"
    ):
        if event.type == "transcript.text.delta":
            deltas.append(event.delta)
            assert "".join(entry.token or "" for entry in event.logprobs or []) == event.delta
        elif event.type == "transcript.text.done":
            done.append(event.text)
            assert "".join(entry.token or "" for entry in event.logprobs or []) == event.text
    assert len(deltas) == len(SENTENCES)
    assert ["".join(deltas)] == done == [TEXT]


def test_stream_counts_as_the_client_s_types_say(client: Caller) -> None:
    """The type of the last event knows `usage` in tokens alone, unlike the answer without a stream."""
    for clip, output_tokens in ((CLIP, len("".join(SENTENCES))), (SILENCE, 0)):
        usage = client.transcribe(file=clip, model="whisper-1", stream=True)[-1].usage
        assert (usage.type, usage.input_tokens, usage.output_tokens) == ("tokens", 20, output_tokens)
        assert usage.total_tokens == 20 + output_tokens
        assert usage.input_token_details.audio_tokens == 20


def test_every_way_to_hand_over_a_file(client: Caller, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(CLIP[1])
    for file in (path, CLIP[1], BytesIO(CLIP[1]), ("a", CLIP[1], "application/octet-stream"), ("ä/ö.wav", CLIP[1])):
        assert client.transcribe(file=file, model="whisper-1").text == TEXT
    with path.open("rb") as opened:
        assert client.transcribe(file=opened, model="whisper-1").text == TEXT


def test_every_answer_has_a_request_id(client: Caller) -> None:
    assert client.transcribe(file=CLIP, model="whisper-1")._request_id.startswith("req_")
    assert client.model("default")._request_id.startswith("req_")


def test_stream_of_silence(client: Caller) -> None:
    events = list(client.transcribe(file=SILENCE, model="whisper-1", stream=True))
    assert [(event.type, event.text) for event in events] == [("transcript.text.done", "")]


def test_bad_audio_in_a_stream_is_a_plain_error(client: Caller) -> None:
    with pytest.raises(openai.BadRequestError):
        client.transcribe(file=("x.wav", b"no audio at all"), model="whisper-1", stream=True)


def test_failure_in_mid_stream(start_server: Callable[..., Server]) -> None:
    """Where the work fails after the 200 is out, the client still raises, and learns no internals."""
    server = start_server(remember_s=0, heartbeat_s=0.05)
    server.fake.hold()
    server.fake.error = RuntimeError("secret detail")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        stream = client.audio.transcriptions.create(file=CLIP, model="whisper-1", stream=True)
        server.fake.release()
        with pytest.raises(openai.APIError, match="internal error") as caught:
            list(stream)
    assert "secret" not in str(caught.value)


def test_models(client: Caller) -> None:
    listed = client.models()
    assert [(model.id, model.object, model.created) for model in listed] == [("fake-base", "model", 1_700_000_000)]
    for name in ("fake-base", *ALIASES):
        assert client.model(name) == listed[0]
    with pytest.raises(openai.NotFoundError) as caught:
        client.model("nothing")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.APIStatusError, match="DELETE is not allowed here") as refused:
        client.delete("fake-base")
    assert (refused.value.status_code, refused.value.code) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("fields", "param", "code", "message"),
    [
        ({"language": "de"}, "language", "unsupported_language", "'language' is 'de'; the model knows 'en' only"),
        ({"languages": ["de", "fr"]}, "languages", "unsupported_language", "'de, fr'"),
        ({"temperature": 1.5}, "temperature", "invalid_value", "'temperature' is '1.5'"),
        ({"temperature": -0.1}, "temperature", "invalid_value", "'temperature' is '-0.1'"),
        ({"response_format": "yaml"}, "response_format", "invalid_value", "'verbose_json'"),
        ({"response_format": "diarized_json"}, "response_format", "invalid_value", "speakers"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities", "invalid_value", "'verbose_json'"),
        (
            {"timestamp_granularities": ["phone"], "response_format": "verbose_json"},
            "timestamp_granularities",
            "invalid_value",
            "'phone'",
        ),
        ({"include": ["gates"]}, "include", "invalid_value", "'gates'"),
        ({"include": ["logprobs"], "response_format": "vtt"}, "include", "invalid_value", "'json'"),
        ({"stream": True, "response_format": "srt"}, "stream", "invalid_value", "'srt'"),
        ({"chunking_strategy": "magic"}, "chunking_strategy", "invalid_value", "'auto'"),
        ({"chunking_strategy": {"type": "magic"}}, "chunking_strategy[type]", "invalid_value", "'server_vad'"),
        ({"chunking_strategy": {"threshold": 0.5}}, "chunking_strategy[type]", "missing_required_parameter", "missing"),
        (
            {"chunking_strategy": {"type": "server_vad", "threshold": 2}},
            "chunking_strategy[threshold]",
            "invalid_value",
            "is '2': input should be less than or equal to 1",
        ),
        (
            {"chunking_strategy": {"type": "server_vad", "eagerness": "low"}},
            "chunking_strategy[eagerness]",
            "unknown_parameter",
            "'chunking_strategy[eagerness]' is not known here",
        ),
        ({"known_speaker_names": ["ada"]}, "known_speaker_names", "unsupported_parameter", "tell speakers apart"),
        (
            {"known_speaker_references": ["data:audio/wav;base64,UklG", "data:audio/wav;base64,UklG"]},
            "known_speaker_references",
            "unsupported_parameter",
            "tell speakers apart",
        ),
        ({"extra_body": {"best_of": 5}}, "best_of", "unknown_parameter", "'best_of' is not known here"),
    ],
)
def test_what_the_model_cannot_do_is_a_clear_400(
    client: Caller, fields: dict[str, object], param: str, code: str, message: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.transcribe(file=CLIP, model="whisper-1", **fields)
    error = caught.value
    assert (error.param, error.code, error.type) == (param, code, "invalid_request_error")
    assert message in error.message
    assert error.request_id


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        pytest.param(b"", "empty_audio", id="empty"),
        pytest.param(b"no audio at all", "unsupported_audio", id="text"),
        pytest.param(wav()[:44], "corrupt_audio", id="header alone"),
    ],
)
def test_bad_audio(client: Caller, audio: bytes, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.transcribe(file=("clip.wav", audio), model="whisper-1")
    assert (caught.value.param, caught.value.code) == ("file", code)


def test_too_large_and_too_long(start_server: Callable[..., Server]) -> None:
    server = start_server(max_upload_bytes=40_000, max_audio_s=1.5)
    for connect in (Sync, Async):
        client: Sync | Async = connect(server.url)
        for seconds, code in ((2.0, "audio_too_long"), (3.0, "file_too_large")):
            with pytest.raises(openai.APIStatusError) as caught:
                client.transcribe(file=("long.wav", wav(seconds)), model="whisper-1")
            error = caught.value
            assert (error.status_code, error.param, error.code) == (413, "file", code)
            assert error.type == "invalid_request_error"
            assert error.request_id
        client.close()


def test_unknown_model(client: Caller) -> None:
    with pytest.raises(openai.NotFoundError, match="'gpt-9' does not exist") as caught:
        client.transcribe(file=CLIP, model="gpt-9")
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


def test_translations_are_refused(client: Caller) -> None:
    with pytest.raises(openai.BadRequestError, match="not supported"), pytest.deprecated_call():
        client.translate(file=CLIP, model="whisper-1")


def test_internal_error_tells_nothing(server: Server, client: Caller) -> None:
    server.fake.error = RuntimeError("/secret/path")
    try:
        with pytest.raises(openai.InternalServerError) as caught:
            client.transcribe(file=CLIP, model="whisper-1")
    finally:
        server.fake.error = None
    assert (caught.value.status_code, caught.value.code) == (500, "internal_error")
    assert "secret" not in caught.value.response.text
    assert caught.value.request_id


def test_a_retry_costs_no_second_transcription(start_server: Callable[..., Server]) -> None:
    server = start_server()
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        first = client.audio.transcriptions.create(file=CLIP, model="whisper-1")
        again = client.audio.transcriptions.create(file=CLIP, model="whisper-1", response_format="verbose_json")
        assert (first.text, again.text, server.fake.calls) == (TEXT, TEXT, 1)
        client.audio.transcriptions.create(file=("other.wav", wav(1.5)), model="whisper-1")
    assert server.fake.calls == 2
