"""`/v1/realtime?intent=transcription`: OpenAI's realtime transcription. docs/live.md says what differs."""

from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from features.errors import CepstraError
from service.access import holder_of
from service.errors import (
    AuthenticationError,
    ForbiddenError,
    InvalidRequestError,
    ServiceError,
    SlowReaderError,
    row_of,
)
from service.live import Channel, Places, error_event, opened, read_json
from service.realtime import RealtimeSession
from service.settings import Settings

router = APIRouter()

ENDING = (SlowReaderError, AuthenticationError, ForbiddenError)  # of the connection, not of what a message asks for


@router.websocket("/v1/realtime")
async def realtime(websocket: WebSocket) -> None:
    """Transcribe audio while it is sent, in OpenAI's events."""
    state = websocket.app.state
    settings: Settings = state.settings
    places: Places = state.places
    async with opened(websocket, idle_s=settings.socket_idle_s, send_s=settings.socket_send_s) as channel:
        if websocket.query_params.get("intent") != "transcription":
            raise InvalidRequestError(
                "This server transcribes and does not talk: connect to /v1/realtime?intent=transcription.",
                param="intent",
                code="unsupported_intent",
            )
        model = websocket.query_params.get("model") or "default"
        session = RealtimeSession(state.served, state.scheduler, model)
        key, max_of_key = holder_of(websocket)
        places.take(key, max_of_key)
        try:
            await channel.send(session.created())
            while True:
                received = await channel.receive()
                await channel.unless_gone(_answer(session, received, channel))
        except (WebSocketDisconnect, ServiceError):
            raise
        except Exception as error:
            await channel.send(session.failed(error))
            raise
        finally:
            places.give_back(key)


async def _answer(session: RealtimeSession, received: str | bytes | None, channel: Channel) -> None:
    """Act on one message; what is wrong with it is told, and the session goes on."""
    message: Any = None
    try:
        message = await _parsed(received)
        async for event in session.handle(message):
            await channel.send(event)
    except CepstraError as error:
        if isinstance(error, ENDING) or not row_of(error).public:
            raise
        event_id = message.get("event_id") if isinstance(message, dict) else None
        await channel.send(error_event(error, client_event_id=event_id if isinstance(event_id, str) else None))


async def _parsed(received: str | bytes | None) -> Any:
    if not isinstance(received, str):
        raise InvalidRequestError("Events are JSON in text messages.", code="invalid_event")
    return await read_json(received)
