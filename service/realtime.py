"""OpenAI's realtime transcription, without the socket: client events in, server events out.

    server VAD            append → session.feed → speech_started, delta…, speech_stopped, committed, item, completed
    turn_detection null   append…, commit → session.flush → committed, item, delta, completed

With server VAD the words of an item are told as soon as they are certain, before the item is complete; joined, the
deltas are the transcript. Speech is what words were heard in, so a door that slams starts nothing.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from features.pcm import SampleDecoder
from model.errors import HotWordError
from model.stream_events import Final, Partial, StreamEvent
from model.transcript import Segment
from service.errors import InvalidRequestError, MessageTooLargeError, UnknownModelError
from service.formats import to_logprobs
from service.live import LONG_TEXT, error_event, new_id
from service.realtime_options import INVALID_KEYWORDS, RealtimeOptions
from service.recogniser import LiveSession, ServedModel
from service.scheduler import Scheduler

Event = dict[str, Any]

PART_OF_BASE64 = 256 * 1024  # characters, a multiple of 4
MAX_APPEND_BYTES = 15 * 1024 * 1024  # of base64, OpenAI's limit
LEAST_COMMIT_S = 0.1  # the same
TICKS_PER_S = 24_000  # a sample of every format is a whole number of them, so that nothing is lost in adding
TRANSCRIPTION = "conversation.item.input_audio_transcription"


class RealtimeSession:
    """One conversation. Belongs to the event loop; the model's work runs in the scheduler's threads.

    Args:
        served: finds the model.
        scheduler: runs it.
        model: name of the model until the client names another.
    """

    def __init__(self, served: ServedModel, scheduler: Scheduler, model: str) -> None:
        self._served = served
        self._scheduler = scheduler
        self._id = new_id("sess")
        self._options = RealtimeOptions(model=model)
        self._previous_item: str | None = None
        self._fed = 0  # ticks of audio since the session began
        self._committed = 0  # of it, what lies in items or was cleared
        self._start(self._options, self._opened(self._options))

    @property
    def _fed_s(self) -> float:
        return self._fed / TICKS_PER_S

    def _opened(self, options: RealtimeOptions) -> LiveSession:
        """What hears with these options. With many hot words it takes a tenth of a second: to be called in a thread.

        Raises:
            UnknownModelError, NotReadyError: the model is not there.
            HotWordError: it cannot spell a hot word.
        """
        # They bring torch, which is there by now, but not yet when the server starts.
        from model.stable_words import CommitConfig
        from model.streaming import StreamingConfig

        config = StreamingConfig()
        if options.detection:
            config = StreamingConfig(commit=CommitConfig(pause_s=options.detection.silence_duration_ms / 1000))
        recogniser = self._served.find(options.model)
        return recogniser.stream(sample_rate_hz=options.rate_hz, config=config, hot_words=options.hot_words)

    def _start(self, options: RealtimeOptions, session: LiveSession) -> None:
        """Hear by this session from here on."""
        self._session = session
        self._decoder = SampleDecoder(options.encoding)
        self._options = options
        self._offset_s = self._fed_s  # where the times of the session begin
        self._item: str | None = None  # what is being spoken
        self._n_told = 0  # words of it that were told
        self._said: list[Segment] = []  # without server VAD: what a commit will tell

    def created(self) -> Event:
        """The first event."""
        return _event("session.created", session=self._options.to_session(self._id))

    async def handle(self, message: Any) -> AsyncIterator[Event]:
        """Act on a client's event; gives the server's events as they come about.

        Raises:
            ServiceError: the client's event cannot be acted on; the session stays as it was.
        """
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise InvalidRequestError("An event is an object with a 'type'.", param="type", code="invalid_event")
        kind = message["type"]
        if kind == "input_audio_buffer.append":
            async for event in self._append(message.get("audio")):
                yield event
        elif kind == "input_audio_buffer.commit":
            async for event in self._commit():
                yield event
        elif kind == "input_audio_buffer.clear":
            session = await asyncio.to_thread(self._opened, self._options)
            self._committed = self._fed
            self._start(self._options, session)
            yield _event("input_audio_buffer.cleared")
        elif kind in ("session.update", "transcription_session.update"):
            async for event in self._update(message.get("session"), beta=kind != "session.update"):
                yield event
        else:
            raise InvalidRequestError(
                f"'{kind[:100]}' is no event of a transcription session.", param="type", code="unknown_event"
            )

    def failed(self, error: Exception) -> Event:
        """What was being spoken cannot be transcribed."""
        content: Any = {**error_event(error)["error"]}
        content.pop("event_id")
        return _event(f"{TRANSCRIPTION}.failed", item_id=self._item or new_id("item"), content_index=0, error=content)

    async def _append(self, audio: Any) -> AsyncIterator[Event]:
        if not isinstance(audio, str):
            raise InvalidRequestError("'audio' has to be base64.", param="audio", code="invalid_audio")
        if len(audio) > MAX_APPEND_BYTES:
            raise MessageTooLargeError(f"'audio' has {len(audio)} bytes; at most {MAX_APPEND_BYTES} may come at once.")
        try:
            data = decoded(audio) if len(audio) <= LONG_TEXT else await asyncio.to_thread(decoded, audio)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequestError("'audio' is no base64.", param="audio", code="invalid_audio") from error
        second = self._options.rate_hz
        piece_bytes = second * (2 if self._decoder.encoding == "pcm16" else 1)
        for first in range(0, len(data), piece_bytes):
            piece_N = self._decoder.feed(data[first : first + piece_bytes])
            found = await self._scheduler.run(partial(self._session.feed, piece_N))
            self._fed += len(piece_N) * TICKS_PER_S // second
            for event in self._tell(found):
                yield event

    async def _commit(self) -> AsyncIterator[Event]:
        waiting_s = (self._fed - self._committed) / TICKS_PER_S
        if waiting_s < LEAST_COMMIT_S:
            raise InvalidRequestError(
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_ms(LEAST_COMMIT_S)}ms of audio, but buffer only has {1000 * max(waiting_s, 0):.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        complete = False
        for event in await self._flush():
            complete |= event["type"] == f"{TRANSCRIPTION}.completed"
            yield event
        if not complete:  # without server VAD all of it is one item, and with it silence is an item too
            for event in self._complete(self._said, waiting_s):
                yield event
        self._decoder.flush()
        self._committed = self._fed
        self._said = []

    async def _flush(self) -> list[Event]:
        """Hear the rest of what was said; the session's times begin anew where the next audio begins."""
        events = [*self._tell(await self._scheduler.run(self._session.flush))]
        self._offset_s = self._fed_s
        return events

    async def _update(self, session: Any, *, beta: bool) -> AsyncIterator[Event]:
        options = self._options.updated_by_beta(session) if beta else self._options.updated(session)
        where = "session.input_audio_transcription" if beta else "session.audio.input.transcription"
        try:
            self._served.find(options.model)
        except UnknownModelError as error:
            raise UnknownModelError(str(error), param=f"{where}.model") from error
        if replace(options, logprobs=self._options.logprobs) != self._options:
            try:
                opened = await asyncio.to_thread(self._opened, options)
            except HotWordError as error:
                raise InvalidRequestError(str(error), param=f"{where}.keywords", code=INVALID_KEYWORDS) from error
            for event in await self._flush():
                yield event
            said = self._said
            if said and options.detection:  # what was heard for a commit is an item of its own
                for event in self._complete(said, (self._fed - self._committed) / TICKS_PER_S):
                    yield event
                self._committed, said = self._fed, []
            decoder = self._decoder
            self._start(options, opened)
            if decoder.encoding == options.encoding:  # the other half of a sample may be on its way
                self._decoder = decoder
            self._said = said
        self._options = options
        if beta:
            yield _event("transcription_session.updated", session=options.to_beta_session(self._id))
        else:
            yield _event("session.updated", session=options.to_session(self._id))

    def _tell(self, found: Sequence[StreamEvent]) -> Iterator[Event]:
        for one in found:
            if self._options.detection is None:
                if isinstance(one, Final):
                    self._said.append(one.segment)
            elif isinstance(one, Final):
                yield from self._end(one.segment)
            else:
                yield from self._go_on(one)

    def _go_on(self, partial: Partial) -> Iterator[Event]:
        words = (*partial.words, *partial.interim)
        if words:
            yield from self._begin(words[0].start_s)
            yield from self._delta([word.text for word in partial.words])
        elif self._item:  # it was nothing
            yield _event("input_audio_buffer.speech_stopped", audio_end_ms=_ms(self._fed_s), item_id=self._item)
            self._item = None

    def _begin(self, start_s: float) -> Iterator[Event]:
        if self._item is None:
            assert self._options.detection is not None
            self._item, self._n_told = new_id("item"), 0
            start_ms = _ms(self._offset_s + start_s) - self._options.detection.prefix_padding_ms
            yield _event("input_audio_buffer.speech_started", audio_start_ms=max(0, start_ms), item_id=self._item)

    def _delta(self, texts: Sequence[str]) -> Iterator[Event]:
        if len(texts) > self._n_told:
            text = " ".join(texts[self._n_told :])
            delta = f" {text}" if self._n_told else text
            self._n_told = len(texts)
            yield _event(f"{TRANSCRIPTION}.delta", item_id=self._item, content_index=0, delta=delta)

    def _end(self, segment: Segment) -> Iterator[Event]:
        """An utterance is over: its item is complete."""
        yield from self._begin(segment.start_s)
        assert self._options.detection is not None
        end_s = min(self._offset_s + segment.end_s + self._options.detection.silence_duration_ms / 1000, self._fed_s)
        yield _event("input_audio_buffer.speech_stopped", audio_end_ms=_ms(end_s), item_id=self._item)
        yield from self._complete([segment], segment.end_s - segment.start_s)
        self._committed = max(self._committed, round(TICKS_PER_S * end_s))

    def _complete(self, segments: Sequence[Segment], seconds: float) -> Iterator[Event]:
        item = self._item = self._item or new_id("item")
        previous, self._previous_item = self._previous_item, item
        content = {"type": "input_audio", "transcript": None}
        message = {"id": item, "object": "realtime.item", "type": "message", "status": "completed", "role": "user"}
        yield _event("input_audio_buffer.committed", previous_item_id=previous, item_id=item)
        yield _event("conversation.item.created", previous_item_id=previous, item={**message, "content": [content]})
        words = [word.text for segment in segments for word in segment.words]
        yield from self._delta(words)
        self._item, self._n_told = None, 0
        completed = _event(
            f"{TRANSCRIPTION}.completed",
            item_id=item,
            content_index=0,
            transcript=" ".join(words),
            usage={"type": "duration", "seconds": round(seconds, 3)},
        )
        if self._options.logprobs:
            completed["logprobs"] = to_logprobs(segments)
        yield completed


def decoded(base64_text: str) -> bytes:
    """The bytes, decoded in parts, because `base64` lets no other thread work until it returns.

    Raises:
        ValueError: it is no base64.
    """
    if "=" in base64_text[:-2]:  # padding is at the end of the last part alone
        raise ValueError("padding before the end")
    parts = (base64_text[first : first + PART_OF_BASE64] for first in range(0, len(base64_text), PART_OF_BASE64))
    return b"".join(base64.b64decode(part, validate=True) for part in parts)


def _event(kind: str, **fields: Any) -> Event:
    return {"type": kind, "event_id": new_id("event"), **fields}


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
