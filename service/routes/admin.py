"""`/admin/models`: which models are in memory, and which is the default."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from service.recogniser import ServedModel
from service.registry import Registry

router = APIRouter()


class Promotion(BaseModel):
    """What `POST /admin/models/promote` takes."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="Name of the model that is to be the default.")


@router.get("/admin/models", summary="Which models are in memory, and which is the default")
async def list_models(request: Request) -> dict[str, Any]:
    """All models, the default first."""
    return _listed(_registry(request))


@router.post("/admin/models/promote", summary="Make a model the default")
async def promote(request: Request, body: Promotion) -> dict[str, Any]:
    """Answers once the model is loaded and has taken the default's place; until then the one before is used."""
    registry = _registry(request)
    await run_in_threadpool(registry.promote, body.model)
    return _listed(registry)


@router.post("/admin/models/rollback", summary="Go back to the default before this one")
async def rollback(request: Request) -> dict[str, Any]:
    """As promote."""
    registry = _registry(request)
    await run_in_threadpool(registry.rollback)
    return _listed(registry)


def _registry(request: Request) -> Registry[Any]:
    served: ServedModel = request.app.state.served
    return served.registry


def _listed(registry: Registry[Any]) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [
            {
                "id": model.name,
                "object": "model",
                "created": model.created_at,
                "owned_by": "cepstra",
                "default": model is registry.default,
                "loaded": model.loaded,
            }
            for model in registry.models()
        ],
    }
