"""`GET /v1/models`: what is served."""

from typing import Any

from fastapi import APIRouter, Request

from service.recogniser import Recogniser, ServedModel

router = APIRouter()


@router.get("/v1/models", summary="List the models")
async def list_models(request: Request) -> dict[str, Any]:
    """The served model; its aliases are not listed."""
    served: ServedModel = request.app.state.served
    return {"object": "list", "data": [_model(served.ready())]}


@router.get("/v1/models/{model}", summary="One model")
async def retrieve_model(request: Request, model: str) -> dict[str, Any]:
    """The model of that name or alias, under its own name."""
    served: ServedModel = request.app.state.served
    return _model(served.find(model))


def _model(recogniser: Recogniser) -> dict[str, Any]:
    return {
        "id": recogniser.name,
        "object": "model",
        "created": recogniser.created_at,
        "owned_by": "cepstra",
    }
