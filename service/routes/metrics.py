"""`/metrics`: the service's numbers, for Prometheus."""

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from service.telemetry import Telemetry

router = APIRouter()


@router.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus' text format; where keys are needed, one of scope `metrics` or `admin`."""
    telemetry: Telemetry = request.app.state.telemetry
    text = await asyncio.to_thread(telemetry.text)  # which asks the database about jobs
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
