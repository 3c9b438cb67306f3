"""The page at `/` and its files, read once."""

from pathlib import Path

from fastapi import APIRouter, Response

router = APIRouter(include_in_schema=False)

WEB = Path(__file__).resolve().parent.parent / "web"

FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def _add(path: str, file_name: str, media_type: str) -> None:
    body = (WEB / file_name).read_bytes()

    @router.api_route(path, methods=["GET", "HEAD"])
    async def page() -> Response:
        return Response(body, media_type=media_type, headers={"cache-control": "no-cache"})


for _path, (_file_name, _media_type) in FILES.items():
    _add(_path, _file_name, _media_type)
