"""A stream of audio that outlives its connection: what `/v1/stream` speaks, without the socket.

Every `partial` and `final` message has a number, `seq`, higher than all before it. Finals are kept a while, of the
partials only the newest, so that a client that comes back and says which number it saw last is told what it missed, and
nothing twice. It is told in turn how many bytes of its audio were heard, and goes on from there.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from features.pcm import Encoding, SampleDecoder
from model.stream_events import Final, StreamEvent
from service.errors import InvalidRequestError, SessionTakenError, UnknownSessionError
from service.live import Places, to_words
from service.recogniser import LiveSession
from service.scheduler import Scheduler

KEPT_FINALS = 256  # utterances of half a second and more: two minutes at the very least
TAKE_OVER_S = 30.0  # that the connection before may take to finish what it is doing


class LiveStream:
    """One stream. Belongs to the event loop; the model's work runs in the scheduler's threads.

    Args:
        session: what hears.
        scheduler: runs it.
        rate_hz: sample rate of the audio.
        encoding: of the audio.
        owner: name of the key that it was opened with, the only one that may come back to it.
        about: what a client is told of the stream when it is ready.

    Attributes:
        id: by which a client comes back to it.
        n_bytes: how many bytes of audio were heard.
        seq: number of the last message.
        ended: whether the client has said that the audio is over; what it was told is still there to be told again.
        owner, about: as given.
    """

    def __init__(
        self,
        session: LiveSession,
        scheduler: Scheduler,
        *,
        rate_hz: int,
        encoding: Encoding,
        owner: str | None,
        about: dict[str, Any],
    ) -> None:
        self.id = f"st_{secrets.token_urlsafe(18)}"
        self.n_bytes = 0
        self.seq = 0
        self.ended = False
        self.owner = owner
        self.about = about
        self._session: LiveSession | None = session  # until the audio is over
        self._scheduler = scheduler
        self._rate_hz = rate_hz
        self._decoder = SampleDecoder(encoding)
        self._n_samples = 0
        self._finals: deque[dict[str, Any]] = deque(maxlen=KEPT_FINALS)
        self._newest: dict[str, Any] | None = None  # a partial, or the last message of all
        self._forgotten = 0  # number of the newest final that is not kept any more
        self._attached = asyncio.Lock()
        self._wanted = asyncio.Event()  # of the connection that has it
        self._n_waiting = 0

    async def attach(self) -> asyncio.Event:
        """Become its only connection; the one before is told by its event, and has to `detach`.

        Raises:
            SessionTakenError: that one does not let go.
        """
        self._wanted.set()
        self._n_waiting += 1
        try:
            await asyncio.wait_for(self._attached.acquire(), TAKE_OVER_S)
        except TimeoutError as error:
            raise SessionTakenError("Another connection is busy with this session; try again.") from error
        finally:
            self._n_waiting -= 1
        self._wanted = asyncio.Event()
        if self._n_waiting:  # for this one, though they came while another had it
            self._wanted.set()
        return self._wanted

    def detach(self) -> None:
        """Its connection is gone."""
        self._attached.release()

    @property
    def attached(self) -> bool:
        """Whether it has a connection."""
        return self._attached.locked()

    def messages_after(self, seq: int) -> list[dict[str, Any]]:
        """What a client has to be told that has seen all messages up to `seq`.

        Raises:
            InvalidRequestError: there was no such message yet, or what followed it is not kept any more.
        """
        if not 0 <= seq <= self.seq:
            raise InvalidRequestError(f"seq is {seq}; the last message was {self.seq}.", param="seq")
        if seq < self._forgotten:
            raise InvalidRequestError(
                f"seq is {seq}; the finals up to {self._forgotten} are not kept any more.",
                param="seq",
                code="seq_too_old",
            )
        kept = [*self._finals, self._newest] if self._newest else self._finals
        return [message for message in kept if message["seq"] > seq]

    async def take(self, data: bytes) -> AsyncIterator[None]:
        """Hear more audio; gives back the turn whenever there may be something to tell."""
        if self.ended:
            raise InvalidRequestError("The audio is over: 'end' was sent before.", code="already_ended")
        assert self._session is not None, "it is there until the end"
        piece_bytes = self._rate_hz * (2 if self._decoder.encoding == "pcm16" else 1)  # a second
        for first in range(0, len(data), piece_bytes):
            piece = data[first : first + piece_bytes]
            samples_N = self._decoder.feed(piece)
            events = await self._scheduler.run(partial(self._session.feed, samples_N))
            # Counted at once: whoever reads on may be interrupted, and what was heard is not to be sent again.
            self._n_samples += len(samples_N)
            self.n_bytes += len(piece)
            self._note(events)
            yield

    async def end(self) -> None:
        """The audio is over."""
        if not self.ended:
            assert self._session is not None, "it is there until the end"
            self.ended = True
            self._note(await self._scheduler.run(self._session.flush))
            self._session = None
            seconds = round(self._n_samples / self._rate_hz, 3)
            self._newest = self._numbered({"type": "done", "bytes": self.n_bytes, "seconds": seconds})

    def _note(self, events: Sequence[StreamEvent]) -> None:
        for event in events:
            if isinstance(event, Final):
                if len(self._finals) == KEPT_FINALS:
                    self._forgotten = self._finals[0]["seq"]
                segment = event.segment
                message = {
                    "type": "final",
                    "utterance": event.utterance,
                    "text": segment.text,
                    "words": to_words(segment.words),
                }
                self._finals.append(self._numbered(message))
                self._newest = None
            else:
                words = (*event.words, *event.interim)
                message = {
                    "type": "partial",
                    "utterance": event.utterance,
                    "text": " ".join(word.text for word in words),
                    "words": to_words(event.words),
                    "interim": to_words(event.interim),
                }
                self._newest = self._numbered(message)

    def _numbered(self, message: dict[str, Any]) -> dict[str, Any]:
        self.seq += 1
        return {"seq": self.seq, **message}


class LiveStreams:
    """The streams that have a connection, and those that wait for theirs to come back. Belongs to the event loop.

    Args:
        places: how many there may be.
        resume_s: seconds that one waits.
    """

    def __init__(self, places: Places, resume_s: float) -> None:
        self._places = places
        self._resume_s = resume_s
        self._streams: dict[str, LiveStream] = {}
        self._seated: set[str] = set()  # those that hold a place: all but the ended ones
        self._expiries: dict[str, asyncio.TimerHandle] = {}

    def add(self, stream: LiveStream) -> None:
        """A new one, for which a place was taken; it has to be let go of."""
        self._streams[stream.id] = stream
        self._seated.add(stream.id)

    async def find(self, id_: str, owner: str | None) -> tuple[LiveStream, asyncio.Event]:
        """One whose client comes back, attached, and the event by which its next connection will ask for it.

        Raises:
            UnknownSessionError: there is none, or not any more.
            SessionTakenError: its connection before does not let go of it.
        """
        stream = self._streams.get(id_)
        if stream is None or stream.owner != owner:
            raise UnknownSessionError(
                f"There is no such session; one that lost its connection waits {self._resume_s:g} s (CEPSTRA_RESUME_S)."
            )
        wanted = await stream.attach()
        if id_ not in self._streams:  # ended by the connection before, meanwhile
            stream.detach()
            raise UnknownSessionError("The session has ended.")
        if expiry := self._expiries.pop(id_, None):
            expiry.cancel()
        return stream, wanted

    def let_go(self, stream: LiveStream, *, comes_back: bool) -> None:
        """Its connection is gone, and its client may come back, or not.

        One that has ended gives its place back, but its messages wait as long as those of any other: nobody knows
        whether the last of them arrived.
        """
        stream.detach()
        if stream.ended:
            self._give_place_back(stream)
        if comes_back and self._resume_s and stream.id in self._streams:
            loop = asyncio.get_running_loop()
            self._expiries[stream.id] = loop.call_later(self._resume_s, self._expire, stream.id)
        else:
            self._remove(stream.id)

    def forget(self, stream: LiveStream) -> None:
        """Its client has all of it."""
        if expiry := self._expiries.pop(stream.id, None):
            expiry.cancel()
        self._remove(stream.id)

    def close(self) -> None:
        """The server ends: nobody comes back."""
        for expiry in self._expiries.values():
            expiry.cancel()
        self._expiries.clear()

    def _expire(self, id_: str) -> None:
        self._expiries.pop(id_, None)
        if not self._streams[id_].attached:
            self._remove(id_)

    def _remove(self, id_: str) -> None:
        if stream := self._streams.pop(id_, None):
            self._give_place_back(stream)

    def _give_place_back(self, stream: LiveStream) -> None:
        if stream.id in self._seated:
            self._seated.remove(stream.id)
            self._places.give_back(stream.owner)
