"""One table, and every answer that is not a success in OpenAI's shape."""

from collections.abc import Iterator

import pytest

import features.errors
import model.errors
from features.errors import CepstraError
from service.errors import TABLE, QueueFullError, Row, ServiceError, error_response, row_of
from tests.service.conftest import Server, request


def family(root: type[CepstraError]) -> Iterator[type[CepstraError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from family(kind)


@pytest.mark.parametrize("kind", [*family(features.errors.AudioError), *family(ServiceError)])
def test_what_a_client_can_cause_has_a_row_of_its_own(kind: type[CepstraError]) -> None:
    assert kind in TABLE
    assert 400 <= TABLE[kind].status < 500 or TABLE[kind].status == 503


def test_the_nearest_row_applies() -> None:
    class Odd(features.errors.CorruptAudioError):
        """Not in the table."""

    assert row_of(Odd("x")) is TABLE[features.errors.CorruptAudioError]
    assert row_of(model.errors.BundleHashError("x")) == Row(500, "server_error", "internal_error", public=False)


@pytest.mark.parametrize("error", [ValueError("/secret"), model.errors.BundleHashError("/secret")])
def test_internal_errors_tell_nothing(error: Exception) -> None:
    response = error_response(error)
    assert response.status_code == 500
    assert b"secret" not in bytes(response.body)


def test_retry_after() -> None:
    assert error_response(QueueFullError("full", retry_after_s=7)).headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "unknown_url"),
        ("GET", "/v1/models/", 404, "unknown_url"),
        ("POST", "/v1/audio/transcriptions/", 404, "unknown_url"),
        ("GET", "/v1/audio/transcriptions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/models/nothing", 404, "model_not_found"),
        ("GET", "/v1/models/..%2f..%2fetc", 404, "unknown_url"),
        ("POST", "/v1/audio/translations", 400, "unsupported_endpoint"),
    ],
)
def test_every_error_has_the_shape(server: Server, method: str, path: str, status: int, code: str) -> None:
    response = request(method, server.url + path)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"].startswith("req_")


def test_request_ids(server: Server) -> None:
    """The client's own where it is sane, else a new one; on every answer."""

    def answered(sent: str) -> str:
        return request("GET", f"{server.url}/healthz", headers={"x-request-id": sent}).headers["x-request-id"]

    assert answered("my-request_1.2") == "my-request_1.2"
    for insane in ("a b", "x" * 129, "<script>", "a/b"):
        assert answered(insane).startswith("req_")
    assert answered("") != answered("")


@pytest.mark.parametrize("path", ["/", "/app.js", "/healthz", "/readyz"])
def test_head_is_get_without_a_body(server: Server, path: str) -> None:
    head, get = request("HEAD", server.url + path), request("GET", server.url + path)
    assert head.status_code == get.status_code == 200
    assert head.headers["content-length"] == get.headers["content-length"] != "0"
    assert head.content == b""


def test_safe_headers(server: Server) -> None:
    for path in ("/", "/healthz", "/nothing"):
        headers = request("GET", server.url + path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cache-control"] in ("no-store", "no-cache")
