"""`GET /v1/models`: what is served."""

from typing import Any

from fastapi import APIRouter, Request

from service.recogniser import ServedModel
from service.registry import Named

router = APIRouter()


@router.get("/v1/models", summary="List the models")
async def list_models(request: Request) -> dict[str, Any]:
    """All models, the default first; its aliases are not listed."""
    served: ServedModel = request.app.state.served
    served.ready()
    return {"object": "list", "data": [_model(model) for model in served.registry.models()]}


@router.get("/v1/models/{model}", summary="One model")
async def retrieve_model(request: Request, model: str) -> dict[str, Any]:
    """The model of that name or alias, under its own name."""
    served: ServedModel = request.app.state.served
    return _model(served.named(model))


def _model(model: Named) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created_at,
        "owned_by": "cepstra",
    }
