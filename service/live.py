"""Sockets that audio comes in by: how many there may be, how long one may be idle or slow, and how it is closed.

Whatever ends a socket is told twice: as an `error` event, in the shape of every error here, and as close code
4000 + HTTP status with the error's code as the reason, or 1011 where the fault is ours. Nothing piles up for a client
that sends faster than the model hears, or reads slower than it is told: the next piece of audio is read once the one
before is heard and what it made known is sent, and TCP makes the client wait.

A socket may stay open for days, so that its key is looked at again all the time: revoked or expired, it ends the socket
within seconds, also of a client that says nothing.
"""

import asyncio
import json
import logging
import math
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from features.errors import CepstraError
from model.transcript import Word
from service.access import SUBPROTOCOL
from service.errors import (
    CLOSE_ERROR,
    CLOSE_NORMAL,
    IdleSocketError,
    InvalidRequestError,
    SlowReaderError,
    SocketLimitError,
    error_object,
    row_of,
    sendable,
)
from service.formats import to_line

logger = logging.getLogger("cepstra.service")

CLOSE_INTERNAL = 1011
LONGEST_REASON_BYTES = 123  # of a close frame
READMIT_S = 1.0  # between two looks at the key
LONG_TEXT = 64 * 1024  # characters that take so long to read that it is done in a thread
REPLY_S = 5.0  # that a client may take to answer a close frame


class Places:
    """How many live streams there may be, those that wait for their client included. Belongs to the event loop.

    Args:
        most: of everybody.
        most_of_key: of a key without a limit of its own; None for no limit.
    """

    def __init__(self, most: int, most_of_key: int | None = None) -> None:
        self._most = most
        self._most_of_key = most_of_key
        self._of_key: Counter[str] = Counter()
        self.taken = 0

    def take(self, key: str | None = None, max_of_key: int | None = None) -> None:
        """One more of `key`, which may have a limit of its own; raises SocketLimitError where there is no room."""
        if self.taken >= self._most:
            raise SocketLimitError(
                f"{self.taken} live streams are open, as many as may be (CEPSTRA_MAX_SOCKETS). Try again later."
            )
        limit = max_of_key or self._most_of_key
        if key is not None and limit is not None and self._of_key[key] >= limit:
            whose = "its own limit" if max_of_key else "CEPSTRA_MAX_PER_KEY"
            raise SocketLimitError(
                f"{limit} live streams of the key '{key}' are open already ({whose}).", code="concurrency_limit"
            )
        self.taken += 1
        if key is not None:
            self._of_key[key] += 1

    def give_back(self, key: str | None = None) -> None:
        """One less of `key`."""
        self.taken -= 1
        if key is not None:
            self._of_key[key] -= 1
            self._of_key += Counter()  # forgets those at zero


class Channel:
    """An accepted socket with limits.

    Args:
        websocket: the socket.
        idle_s: seconds without a message after which it is closed.
        send_s: seconds that the client may take to read a message.
        readmit: asked every second; raises once the client may not be here any more.
    """

    def __init__(self, websocket: WebSocket, *, idle_s: float, send_s: float, readmit: Callable[[], object]) -> None:
        self._websocket = websocket
        self._idle_s = idle_s
        self._send_s = send_s
        self._readmit = readmit
        self._readmit_at_s = time.monotonic() + READMIT_S
        self._upcoming: asyncio.Task[Any] | None = None  # the next message, where somebody has waited for it

    async def receive(self, interrupt: asyncio.Event | None = None) -> str | bytes | None:
        """The next message; None once `interrupt` is set.

        Raises:
            WebSocketDisconnect: the client is gone.
            IdleSocketError: it sent nothing for too long.
            AuthenticationError, ForbiddenError: its key was revoked or has expired.
        """
        message = self._next()
        interrupted = asyncio.create_task(interrupt.wait()) if interrupt else None
        waiting = {message, interrupted} if interrupted else {message}
        idle_at_s = time.monotonic() + self._idle_s
        try:
            while (left_s := idle_at_s - time.monotonic()) > 0:
                self._check_admission()
                await asyncio.wait(waiting, timeout=min(left_s, READMIT_S), return_when=asyncio.FIRST_COMPLETED)
                if interrupt and interrupt.is_set():  # before what was sent: there may be minutes of it
                    return None
                if message.done():
                    self._upcoming = None
                    return self._content(message.result())
            raise IdleSocketError(f"Nothing was sent for {self._idle_s:g} s (CEPSTRA_SOCKET_IDLE_S).")
        finally:
            if interrupted:
                interrupted.cancel()

    async def unless_gone(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, which is abandoned where it waits if the client goes away meanwhile.

        Only the next message is looked at: more would pile up here.

        Raises:
            WebSocketDisconnect: it has gone.
        """
        working, message = asyncio.create_task(work), self._next()
        try:
            await asyncio.wait({working, message}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self._content(message.result())
            await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)  # which may end with an error that nobody waits for

    def forget(self) -> None:
        """Nobody reads what else may come."""
        if self._upcoming:
            self._upcoming.cancel()

    def _next(self) -> "asyncio.Task[Any]":
        if self._upcoming is None:
            self._upcoming = asyncio.create_task(self._websocket.receive())
        return self._upcoming

    def _check_admission(self) -> None:
        if time.monotonic() >= self._readmit_at_s:
            self._readmit_at_s = math.inf  # who is refused is still to be told
            self._readmit()
            self._readmit_at_s = time.monotonic() + READMIT_S

    def _content(self, message: Any) -> str | bytes:
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code") or 1005, message.get("reason"))
        text, data = message.get("text"), message.get("bytes")
        return str(text) if text is not None else bytes(data or b"")

    async def send(self, event: dict[str, Any]) -> None:
        """Tell the client.

        Raises:
            WebSocketDisconnect: it is gone.
            SlowReaderError: it does not read.
            AuthenticationError, ForbiddenError: its key was revoked or has expired.
        """
        self._check_admission()
        try:
            await asyncio.wait_for(self._websocket.send_text(to_line(event)), self._send_s)
        except TimeoutError as error:
            raise SlowReaderError(f"The client did not read for {self._send_s:g} s (CEPSTRA_SOCKET_SEND_S).") from error
        except RuntimeError as error:  # Starlette, where the socket is closed already
            raise WebSocketDisconnect(1006) from error

    async def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        """End it; does nothing where it has ended already, and does not wait for a client that does not read."""
        if self._websocket.client_state == self._websocket.application_state == WebSocketState.CONNECTED:
            shortened = reason.encode()[:LONGEST_REASON_BYTES].decode(errors="ignore")
            try:
                await asyncio.wait_for(self._websocket.close(code, shortened), self._send_s)
            except (TimeoutError, RuntimeError, WebSocketDisconnect):
                logger.info("a socket was gone before it could be closed")

    async def close_reply(self) -> int | None:
        """After `close`: the code that the client answered with; None where no answer came."""
        reply: asyncio.Future[int | None] | None = getattr(self._websocket.state, "close_reply", None)
        if reply is None:  # another server than ours, which does not tell
            return None
        await asyncio.wait({reply}, timeout=REPLY_S)
        return reply.result() if reply.done() else None


@asynccontextmanager
async def opened(websocket: WebSocket, *, idle_s: float, send_s: float) -> AsyncIterator[Channel]:
    """Accept a socket; whatever goes wrong meanwhile is told to the client and closes it."""
    # A browser that sends its key as a subprotocol wants to hear of another one that is taken.
    offered = (name for name in websocket.scope.get("subprotocols", ()) if not name.startswith(SUBPROTOCOL))
    await websocket.accept(next(offered, None))
    channel = Channel(websocket, idle_s=idle_s, send_s=send_s, readmit=websocket.state.readmit)
    try:
        yield channel
    except WebSocketDisconnect:
        return
    except Exception as error:
        event = error_event(error)
        ours = not isinstance(error, CepstraError) or not row_of(error).public
        code = CLOSE_INTERNAL if ours or not isinstance(error, CepstraError) else CLOSE_ERROR + row_of(error).status
        if not isinstance(error, SlowReaderError):  # who would not hear of it
            try:
                await channel.send(event)
            except (WebSocketDisconnect, SlowReaderError):
                return
        await channel.close(code, str(event["error"]["code"]))
    else:
        await channel.close()
    finally:
        channel.forget()


def error_event(error: Exception, *, client_event_id: str | None = None) -> dict[str, Any]:
    """An error as an event, for either kind of socket."""
    content: Any = error_object(error)["error"]
    named = None if client_event_id is None else sendable(client_event_id)
    return {"type": "error", "event_id": new_id("event"), "error": {**content, "event_id": named}}


async def read_json(text: str) -> Any:
    """What a client sent as a text message; raises InvalidRequestError where it is no JSON, or too deep or too long."""
    try:
        return json.loads(text) if len(text) <= LONG_TEXT else await asyncio.to_thread(json.loads, text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError("The message is no JSON.", code="invalid_json") from error


def new_id(kind: str) -> str:
    """A name that nobody can guess."""
    return f"{kind}_{uuid.uuid4().hex}"


def to_words(words: Sequence[Word], offset_s: float = 0.0) -> list[dict[str, Any]]:
    """Words as both kinds of sockets write them."""
    return [
        {
            "word": word.text,
            "start": round(offset_s + word.start_s, 3),
            "end": round(offset_s + word.end_s, 3),
            "confidence": round(word.confidence, 4),
        }
        for word in words
    ]
