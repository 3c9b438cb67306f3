"""`/v1/stream`: PCM in, JSON out, as simple as a live transcript can be. docs/live.md describes the protocol."""

import asyncio
from typing import get_args

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from features.errors import CepstraError
from features.limits import MAX_INPUT_RATE_HZ, MIN_INPUT_RATE_HZ
from features.pcm import Encoding
from model.hot_words import DEFAULT_BOOST, HotWords
from service.access import holder_of
from service.errors import CLOSE_NORMAL, InvalidRequestError, MessageTooLargeError, SessionTakenError
from service.live import Channel, Places, opened, read_json
from service.live_stream import LiveStream, LiveStreams
from service.recogniser import ServedModel
from service.scheduler import Scheduler
from service.settings import Settings

router = APIRouter()

LARGEST_FRAME_BYTES = 1024 * 1024  # 32 s of 16 kHz; a client that is live sends a tenth of a second
PARAMETERS = ("rate", "encoding", "model", "keywords", "keyword_boost", "session", "seq")


@router.websocket("/v1/stream")
async def stream_audio(websocket: WebSocket) -> None:
    """Transcribe audio while it is sent; a client that lost its connection goes on where it was."""
    settings: Settings = websocket.app.state.settings
    streams: LiveStreams = websocket.app.state.live_streams
    async with opened(websocket, idle_s=settings.socket_idle_s, send_s=settings.socket_send_s) as channel:
        unknown = [name for name in websocket.query_params if name not in PARAMETERS]
        if unknown:
            raise InvalidRequestError(
                f"'{unknown[0]}' is no parameter of this socket; there are {', '.join(PARAMETERS)}.",
                param=unknown[0],
                code="unknown_parameter",
            )
        seen = _whole_number(websocket, "seq", 0)
        if id_ := websocket.query_params.get("session"):
            stream, wanted = await streams.find(id_, holder_of(websocket)[0])
        else:
            if seen:  # before there is anything that would wait for the client to come back
                raise InvalidRequestError(f"seq is {seen}; a new stream has no message yet.", param="seq")
            stream = await _new_stream(websocket)
            wanted = await stream.attach()
        comes_back = True
        try:
            missed = stream.messages_after(seen)
            about = {"session": stream.id, **stream.about, "resume_s": settings.resume_s}
            await channel.send({"type": "ready", **about, "bytes": stream.n_bytes, "seq": stream.seq})
            for message in missed:
                await channel.send(message)
            sent = stream.seq
            while not (stream.ended and sent == stream.seq):
                received = await channel.receive(wanted)
                if received is None:
                    raise SessionTakenError("Another connection has taken this session over.")
                sent = await _hear(stream, received, channel, sent, wanted)
        except WebSocketDisconnect as gone:
            comes_back = gone.code != CLOSE_NORMAL
            raise
        except CepstraError:
            raise
        except Exception:
            comes_back = False  # nobody knows what state it is in
            raise
        finally:
            streams.let_go(stream, comes_back=comes_back)
        # All is sent, which is not to say that it arrived: only the client can tell.
        await channel.close()
        if await channel.close_reply() == CLOSE_NORMAL:
            streams.forget(stream)


async def _hear(stream: LiveStream, received: str | bytes, channel: Channel, sent: int, wanted: asyncio.Event) -> int:
    """Act on a message of the client, or on part of it where another connection wants the stream meanwhile.

    Returns the number of the last message that it was sent in answer.
    """
    if isinstance(received, str):
        await _check_end(received)
        await stream.end()
    else:
        if len(received) > LARGEST_FRAME_BYTES:
            raise MessageTooLargeError(f"The frame has {len(received)} bytes; at most {LARGEST_FRAME_BYTES} may come.")
        async for _ in stream.take(received):
            sent = await _tell(stream, channel, sent)
            if wanted.is_set():
                break
    return await _tell(stream, channel, sent)


async def _tell(stream: LiveStream, channel: Channel, sent: int) -> int:
    for message in stream.messages_after(sent):
        await channel.send(message)
        sent = message["seq"]
    return sent


async def _new_stream(websocket: WebSocket) -> LiveStream:
    served: ServedModel = websocket.app.state.served
    places: Places = websocket.app.state.places
    streams: LiveStreams = websocket.app.state.live_streams
    scheduler: Scheduler = websocket.app.state.scheduler
    rate_hz = _whole_number(websocket, "rate", 16_000)
    if not MIN_INPUT_RATE_HZ <= rate_hz <= MAX_INPUT_RATE_HZ:
        raise InvalidRequestError(
            f"The rate is {rate_hz} Hz; {MIN_INPUT_RATE_HZ} to {MAX_INPUT_RATE_HZ} Hz are supported.", param="rate"
        )
    encoding = _encoding(websocket.query_params.get("encoding", "pcm16"))
    recogniser = served.find(websocket.query_params.get("model", "default"))
    hot_words = _hot_words(websocket)
    # In a thread, because a hundred terms take a tenth of a second.
    session = await asyncio.to_thread(recogniser.stream, sample_rate_hz=rate_hz, hot_words=hot_words)
    owner, max_of_key = holder_of(websocket)
    places.take(owner, max_of_key)
    about = {"model": recogniser.name, "rate": rate_hz, "encoding": encoding}
    stream = LiveStream(session, scheduler, rate_hz=rate_hz, encoding=encoding, owner=owner, about=about)
    streams.add(stream)
    return stream


async def _check_end(text: str) -> None:
    if await read_json(text) != {"type": "end"}:
        raise InvalidRequestError('The only text message is {"type": "end"}; audio is sent as binary.', param="type")


def _hot_words(websocket: WebSocket) -> HotWords | None:
    keywords = websocket.query_params.getlist("keywords")
    text = websocket.query_params.get("keyword_boost", str(DEFAULT_BOOST))
    try:
        boost = float(text)
    except ValueError:
        raise InvalidRequestError(
            f"'keyword_boost' is '{text[:50]}'; a number is needed.", param="keyword_boost"
        ) from None
    return HotWords(tuple(keywords), boost) if keywords else None


def _whole_number(websocket: WebSocket, name: str, default: int) -> int:
    text = websocket.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise InvalidRequestError(f"'{name}' is '{text[:50]}'; a whole number is needed.", param=name)
    return int(text)


def _encoding(text: str) -> Encoding:
    for encoding in get_args(Encoding):
        if text == encoding:
            return encoding  # type: ignore[no-any-return]  # one of the literals
    raise InvalidRequestError(
        f"'encoding' is '{text[:50]}'; there are {', '.join(get_args(Encoding))}.", param="encoding"
    )
