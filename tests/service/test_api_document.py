"""docs/api.md and /openapi.json name the routes, fields and codes that there are."""

import re
from pathlib import Path

from fastapi import FastAPI

from service.app import create_app
from service.errors import TABLE
from service.schemas import LISTS, TranscriptionOptions
from service.settings import Settings
from tests.service.fakes import FakeTranscriber

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
APP: FastAPI = create_app(Settings(), FakeTranscriber())


def on_the_wire(name: str) -> str:
    return f"{name}[]" if name in LISTS else name


def test_every_field_is_documented() -> None:
    fields = {"file", *(on_the_wire(name) for name in TranscriptionOptions.model_fields)}
    rows = re.findall(r"^\| (`[^|]*`) \| [^|]* \|$", DOCUMENT.partition("## Transcribe")[2], flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([\w\[\]]+)`", row)}
    assert documented >= fields
    form = APP.openapi()["paths"]["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]
    schema = form["multipart/form-data"]["schema"]
    assert set(schema["properties"]) == fields
    assert schema["required"] == ["file", "model"]
    assert all(field["description"] for field in schema["properties"].values())


def test_every_route_is_documented() -> None:
    for path in APP.openapi()["paths"]:
        assert f"{path}`" in DOCUMENT


def test_every_code_is_documented() -> None:
    visible = {row.code for row in TABLE.values() if row.public and row.code} - {"invalid_audio", "client_gone"}
    assert {code for code in visible if f"`{code}`" not in DOCUMENT} == set()


def test_the_openapi_document_refers_to_nothing_missing() -> None:
    document = APP.openapi()
    missing = [
        reference
        for reference in re.findall(r"#/components/schemas/\w+", str(document))
        if reference.rpartition("/")[2] not in document.get("components", {}).get("schemas", {})
    ]
    assert not missing


def test_the_links_of_a_job_lead_to_routes() -> None:
    paths = APP.openapi()["paths"]
    links = paths["/v1/jobs"]["post"]["responses"]["202"]["links"].values()
    linked = {tuple(link["operationRef"].removeprefix("#/paths/").split("/")) for link in links}
    found = {(path.replace("/", "~1"), method) for path, methods in paths.items() for method in methods}
    assert linked <= found
    assert len(linked) == 4
