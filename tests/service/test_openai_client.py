"""The official `openai` package, unchanged but for `base_url`, against a running server."""

import asyncio
from collections.abc import Callable

import openai
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose

from model.hot_words import LONGEST_TERM, HotWords
from tests.service.caption_readers import read_srt, read_vtt, text_of
from tests.service.conftest import Server
from tests.service.fakes import SENTENCES, TEXT, FakeTranscriber, wav

CLIP = ("speech.wav", wav(2.0))
SILENCE = ("silence.wav", wav(2.0, amplitude=0))


def test_json(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(file=CLIP, model="whisper-1")
    assert isinstance(answer, Transcription)
    assert answer.text == TEXT
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == 2.0
    assert answer.logprobs is None


def test_text(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(file=CLIP, model="default", response_format="text")
    assert answer == TEXT + "\n"


def test_captions(client: openai.OpenAI) -> None:
    create = client.audio.transcriptions.create
    as_srt = str(create(file=CLIP, model="fake-base", response_format="srt"))
    as_vtt = str(create(file=CLIP, model="fake-base", response_format="vtt"))
    assert text_of(read_srt(as_srt)) == TEXT
    assert read_vtt(as_vtt) == read_srt(as_srt)


def test_verbose_json_has_segments_and_words_by_default(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(file=CLIP, model="whisper-1", response_format="verbose_json")
    assert isinstance(answer, TranscriptionVerbose)
    assert (answer.text, answer.language, answer.duration) == (TEXT, "en", 2.0)
    assert answer.segments is not None
    assert [segment.text for segment in answer.segments] == list(SENTENCES)
    assert all(None not in segment.model_dump().values() for segment in answer.segments)
    assert [word.word for word in answer.words or []] == TEXT.split()
    segments = client.audio.transcriptions.create(
        file=CLIP, model="whisper-1", response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert segments.segments
    assert segments.words is None


def test_timestamp_granularities_arrive(client: openai.OpenAI) -> None:
    words = client.audio.transcriptions.create(
        file=CLIP, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert words.segments is None
    assert words.words is not None
    assert [word.word for word in words.words] == TEXT.split()
    assert all(word.start < word.end for word in words.words)
    assert words.words[0].model_dump()["confidence"] == 0.98
    both = client.audio.transcriptions.create(
        file=CLIP, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert both.segments
    assert both.words


def test_include_logprobs(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(file=CLIP, model="whisper-1", include=["logprobs"])
    assert answer.logprobs is not None
    assert "".join(entry.token or "" for entry in answer.logprobs) == "".join(SENTENCES)


def test_what_is_ignored_is_accepted(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        file=CLIP,
        model="whisper-1",
        language="en",
        prompt="stew",
        temperature=0.2,
        languages=["en", "de"],
        chunking_strategy={"type": "server_vad", "silence_duration_ms": 300, "threshold": 0.5},
    )
    assert answer.text == TEXT
    assert client.audio.transcriptions.create(file=CLIP, model="whisper-1", chunking_strategy="auto").text == TEXT


def test_keywords_reach_the_model(client: openai.OpenAI, server: Server) -> None:
    client.audio.transcriptions.create(file=CLIP, model="whisper-1", keywords=["Mutton", "Birket Foster"])
    assert server.fake.hot_words == HotWords(("Mutton", "Birket Foster"))
    boost = {"keyword_boost": "7.5"}
    client.audio.transcriptions.create(file=CLIP, model="whisper-1", keywords=["Mutton"], extra_body=boost)
    assert server.fake.hot_words == HotWords(("Mutton",), 7.5)


def test_keywords_that_are_too_long_are_a_400(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.audio.transcriptions.create(file=CLIP, model="whisper-1", keywords=["x" * (LONGEST_TERM + 1)])
    assert raised.value.param == "keywords"
    assert raised.value.code == "invalid_keywords"


def test_formatting(client: openai.OpenAI) -> None:
    create = client.audio.transcriptions.create
    answer = create(file=CLIP, model="whisper-1", keywords=["Mutton"], extra_body={"formatting": "captions"})
    assert answer.text == " ".join(sentence.capitalize() for sentence in SENTENCES).replace("mutton", "Mutton")
    assert create(file=CLIP, model="whisper-1", extra_body={"formatting": "raw"}).text == TEXT


def test_silence_is_empty(client: openai.OpenAI) -> None:
    assert client.audio.transcriptions.create(file=SILENCE, model="whisper-1").text == ""
    verbose = client.audio.transcriptions.create(file=SILENCE, model="whisper-1", response_format="verbose_json")
    assert verbose.segments == []


def test_stream(client: openai.OpenAI) -> None:
    deltas, done = [], []
    for event in client.audio.transcriptions.create(
        file=CLIP, model="whisper-1", stream=True, include=["logprobs"], response_format="json"
    ):
        if event.type == "transcript.text.delta":
            deltas.append(event.delta)
            assert "".join(entry.token or "" for entry in event.logprobs or []) == event.delta.strip()
        elif event.type == "transcript.text.done":
            done.append(event.text)
    assert len(deltas) == len(SENTENCES)
    assert ["".join(deltas)] == done == [TEXT]


def test_stream_of_silence(client: openai.OpenAI) -> None:
    events = list(client.audio.transcriptions.create(file=SILENCE, model="whisper-1", stream=True))
    assert [event.model_dump(exclude_none=True) for event in events] == [{"type": "transcript.text.done", "text": ""}]


def test_bad_audio_in_a_stream_is_a_plain_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(file=("x.wav", b"no audio at all"), model="whisper-1", stream=True)


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


def test_async_client(server: Server) -> None:
    async def talk() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            create = client.audio.transcriptions.create
            plain, verbose = await asyncio.gather(
                create(file=CLIP, model="whisper-1"),
                create(file=CLIP, model="whisper-1", response_format="verbose_json"),
            )
            assert plain.text == verbose.text == TEXT
            stream = await create(file=CLIP, model="whisper-1", stream=True)
            events = [event async for event in stream]
            assert "".join(e.delta for e in events if e.type == "transcript.text.delta") == TEXT
            assert [model.id async for model in client.models.list()] == [FakeTranscriber.name]
            with pytest.raises(openai.NotFoundError):
                await create(file=CLIP, model="gpt-9")

    asyncio.run(talk())


def test_models(client: openai.OpenAI) -> None:
    listed = client.models.list().data
    assert [(model.id, model.object, model.created) for model in listed] == [("fake-base", "model", 1_700_000_000)]
    for name in ("fake-base", "default", "whisper-1"):
        assert client.models.retrieve(name) == listed[0]
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nothing")
    assert caught.value.code == "model_not_found"


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
        ({"chunking_strategy": {"type": "magic"}}, "chunking_strategy", "invalid_value", "magic"),
        ({"known_speaker_names": ["ada"]}, "known_speaker_names", "unknown_parameter", "not known"),
    ],
)
def test_what_the_model_cannot_do_is_a_clear_400(
    client: openai.OpenAI, fields: dict[str, object], param: str, code: str, message: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(file=CLIP, model="whisper-1", **fields)  # type: ignore[call-overload]  # wrong on purpose
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
def test_bad_audio(client: openai.OpenAI, audio: bytes, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(file=("clip.wav", audio), model="whisper-1")
    assert (caught.value.param, caught.value.code) == ("file", code)


def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'gpt-9' does not exist") as caught:
        client.audio.transcriptions.create(file=CLIP, model="gpt-9")
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


def test_translations_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not supported"), pytest.deprecated_call():
        client.audio.translations.create(file=CLIP, model="whisper-1")


def test_internal_error_tells_nothing(server: Server, client: openai.OpenAI) -> None:
    server.fake.error = RuntimeError("/secret/path")
    try:
        with pytest.raises(openai.InternalServerError) as caught:
            client.audio.transcriptions.create(file=CLIP, model="whisper-1")
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
