"""Work that has been scheduled, as the one who waits for it holds it.

`service.scheduler` makes a job of whatever is submitted, and gives it a thread when its turn has come. Two sides meet
in the job: the work, in its thread, reports how far it has come and is told there that nobody wants it any longer; a
route, on the event loop, waits for the end, and abandons the job once its client has hung up.
"""

import asyncio
import time
from concurrent.futures import Future
from functools import cached_property
from typing import Any, Generic, TypeVar

from fastapi import Request

from model.cancellation import CancelToken
from model.turns import Rank, Turn
from service.errors import ClientGoneError

T = TypeVar("T")


class Job(Generic[T]):
    """One piece of work: waiting, running, or done.

    Attributes:
        future: its result, for threads.
        progress: share of the work done, 0..1.
        turn: its claim on the processor.
        cancelled: for the work: cancelled once nobody wants the result.
        key: the name of who sent it, where keys are used.
        submitted_s: monotonic seconds when it came.
    """

    def __init__(self, rank: Rank, key: str | None) -> None:
        self.future: Future[T] = Future()
        self.progress = 0.0
        self.turn = Turn(rank, owner=key)
        self.cancelled = CancelToken()
        self.key = key
        self.submitted_s = time.monotonic()

    @cached_property
    def finished(self) -> "asyncio.Future[T]":
        """Its result, as the event loop sees it; to be asked for there."""
        return asyncio.wrap_future(self.future)

    def abandon(self) -> None:
        """Nobody wants the result: leave the line, or stop where the work asks next."""
        self.cancelled.cancel()
        self.future.cancel()
        if "finished" in self.__dict__:  # somebody on the event loop has asked for it, so this is the event loop
            self.finished.cancel()

    def report(self, progress: float) -> None:
        """Called by the work as it goes on; raises WorkCancelledError once nobody wants it."""
        self.cancelled.check()
        self.progress = progress

    async def finished_within(self, seconds: float) -> bool:
        """Wait for the end, at most `seconds`."""
        done, _ = await asyncio.wait({self.finished}, timeout=seconds)
        return bool(done)

    async def result_for(self, request: Request) -> T:
        """The result, or its exception; a client that hangs up meanwhile abandons the work.

        Raises:
            ClientGoneError: it hung up.
        """
        try:
            await self.finished_for(request)
            return self.finished.result()
        finally:
            self.abandon()  # does nothing to what is finished

    async def finished_for(self, request: Request, seconds: float | None = None) -> bool:
        """Wait for the end, at most `seconds`; a client that hangs up meanwhile abandons the work.

        Raises:
            ClientGoneError: it hung up.
        """
        gone = asyncio.create_task(_disconnected(request))
        try:
            either: set[asyncio.Future[Any]] = {self.finished, gone}
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not self.finished.done():
                raise ClientGoneError("The client closed the connection before the transcript was there.")
            return self.finished.done()
        except BaseException:
            self.abandon()
            raise
        finally:
            gone.cancel()


async def _disconnected(request: Request) -> None:
    """Returns when the client has hung up; only to be awaited once the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
