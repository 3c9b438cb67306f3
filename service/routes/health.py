"""`/healthz`: the process answers. `/readyz`: it can transcribe."""

from fastapi import APIRouter, Request

from service.errors import NotReadyError
from service.recogniser import ServedModel

router = APIRouter()


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Does the process answer?")
async def healthz() -> dict[str, str]:
    """200 as soon as the server listens."""
    return {"status": "ok"}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Can it transcribe?")
async def readyz(request: Request) -> dict[str, str | bool]:
    """200 once the model is loaded and warmed up; 503 before that, where it could not be loaded, and before the end."""
    if request.app.state.draining:
        raise NotReadyError("The server is about to end.")
    served: ServedModel = request.app.state.served
    return {"status": "ready", "model": served.ready().name, "alternatives": served.has_alternatives}
