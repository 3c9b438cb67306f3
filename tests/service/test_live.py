"""The channel of a socket, without a socket."""

import asyncio
import gc
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from service.live import Channel


class GoneSocket:
    """A client that hangs up at once."""

    async def receive(self) -> dict[str, Any]:
        return {"type": "websocket.disconnect", "code": 1006}


def test_work_that_fails_because_the_client_has_gone_leaves_no_error_to_log() -> None:
    """What it wanted to send finds the socket closed, in the moment in which it is given up."""
    unheard: list[dict[str, Any]] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise WebSocketDisconnect(1006)

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        channel = Channel(GoneSocket(), idle_s=1, send_s=1, readmit=lambda: None)  # type: ignore[arg-type]  # a stand-in
        with pytest.raises(WebSocketDisconnect):
            await channel.unless_gone(work())
        gc.collect()  # a task says so when it is forgotten
        await asyncio.sleep(0)

    asyncio.run(run())
    assert unheard == []
