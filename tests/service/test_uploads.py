"""Limits, each just under and just over, and forms of every bad shape, over a real socket."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.uploads import FORM_OVERHEAD_BYTES
from tests.service.conftest import Server, request, wait_until
from tests.service.fakes import TEXT, wav, wav_of_size

PATH = "/v1/audio/transcriptions"
CLIP = wav(0.5)


def post(
    server: Server, audio: bytes = CLIP, name: str = "a.wav", more: dict[str, list[str]] | None = None, **fields: str
) -> httpx.Response:
    return request(
        "POST", server.url + PATH, files={"file": (name, audio)}, data={"model": "default", **fields, **(more or {})}
    )


def error_of(response: httpx.Response) -> dict[str, str]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"]
    assert isinstance(error, dict)
    return error


def test_bytes_just_under_and_just_over(start_server: Callable[..., Server]) -> None:
    server = start_server(max_upload_bytes=20_000)
    assert post(server, wav_of_size(20_000)).status_code == 200
    response = post(server, wav_of_size(20_002))
    assert response.status_code == 413
    assert error_of(response)["code"] == "file_too_large"
    assert "20002 bytes" in error_of(response)["message"]
    assert "20000 bytes" in error_of(response)["message"]


def test_a_body_that_announces_too_much_is_refused_unread(start_server: Callable[..., Server]) -> None:
    server = start_server(max_upload_bytes=20_000)
    with connected(server) as connection:
        length = 20_000 + FORM_OVERHEAD_BYTES + 1
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())  # and not a byte of the body
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert f"{length} bytes" in answer


def test_a_chunked_body_stops_early(start_server: Callable[..., Server]) -> None:
    """The answer comes while the client is still sending: the rest is not waited for."""
    server = start_server(max_upload_bytes=20_000)
    with connected(server) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
        )
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        for _ in range(20_000 // 1000 + FORM_OVERHEAD_BYTES // 1000 + 1):
            connection.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n")
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert "20000 bytes" in answer


def test_a_client_that_sends_on_gets_the_answer(start_server: Callable[..., Server]) -> None:
    """Some megabytes too many, sent by a client that writes all before it reads."""
    server = start_server(max_upload_bytes=20_000)

    def chunks() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield from (bytes(64 * 1024) for _ in range(100))

    headers = {"content-type": "multipart/form-data; boundary=b"}
    with httpx.Client(verify=False) as client:
        for _ in range(3):
            response = client.post(server.url + PATH, content=chunks(), headers=headers)
            assert (response.status_code, error_of(response)["code"]) == (413, "file_too_large")
        assert client.get(server.url + "/healthz").status_code == 200


def test_seconds_just_under_and_just_over(start_server: Callable[..., Server]) -> None:
    server = start_server(max_audio_s=1.5)
    assert post(server, wav(1.49)).status_code == 200
    response = post(server, wav(1.6))
    assert response.status_code == 413
    assert error_of(response)["code"] == "audio_too_long"
    assert "1.5 s" in error_of(response)["message"]


def test_fields_just_under_and_just_over(start_server: Callable[..., Server]) -> None:
    server = start_server(max_fields=9, max_field_bytes=2048)
    assert post(server, prompt="x" * 2048).status_code == 200
    assert post(server, prompt="x" * 2049).status_code == 400
    keywords = ["x"] * 8  # `model` is one too
    assert post(server, more={"keywords[]": keywords}).status_code == 200
    response = post(server, more={"keywords[]": [*keywords, "x"]})
    assert response.status_code == 400
    assert "Maximum number of fields is 9" in error_of(response)["message"]


def test_bare_names_and_brackets_are_the_same(server: Server) -> None:
    for name in ("timestamp_granularities", "timestamp_granularities[]"):
        answer = post(server, response_format="verbose_json", more={name: ["word", "segment"]}).json()
        assert answer["words"]
        assert answer["segments"]


@pytest.mark.parametrize("strategy", ["auto", '{"type": "server_vad", "threshold": 0.5}'])
def test_chunking_strategy_as_one_field(server: Server, strategy: str) -> None:
    assert post(server, chunking_strategy=strategy).status_code == 200
    assert post(server, chunking_strategy="{").status_code == 400


def test_empty_fields_are_as_if_not_sent(server: Server) -> None:
    assert post(server, language="", prompt="", temperature="", response_format="").json()["text"] == TEXT


@pytest.mark.parametrize(
    ("name", "content_type"), [("text", "text/plain"), ("srt", "application/x-subrip"), ("vtt", "text/vtt")]
)
def test_content_types(server: Server, name: str, content_type: str) -> None:
    assert post(server, response_format=name).headers["content-type"] == f"{content_type}; charset=utf-8"


@pytest.mark.parametrize(
    ("request_of", "status", "param", "code"),
    [
        ({"files": {"file": ("a", CLIP)}}, 400, "model", "missing_required_parameter"),
        ({"files": {"model": (None, "default")}}, 400, "file", "missing_required_parameter"),
        ({"files": {"file": (None, "text"), "model": (None, "default")}}, 400, "file", "missing_required_parameter"),
        ({"files": {"other": ("a", CLIP)}}, 400, "other", "invalid_value"),
        ({"files": [("file", ("a", CLIP)), ("file", ("b", CLIP))]}, 400, None, "invalid_form"),
        (
            {"files": [("file", ("a", CLIP)), ("model", (None, "a")), ("model", (None, "b"))]},
            400,
            "model",
            "invalid_value",
        ),
        ({"data": {"model": "default"}}, 415, None, "unsupported_media_type"),
        ({"json": {"model": "default"}}, 415, None, "unsupported_media_type"),
        ({"content": b""}, 415, None, "unsupported_media_type"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, None, "invalid_form"),
        ({"content": b"xx", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, None, "invalid_form"),
    ],
)
def test_bad_forms(
    server: Server, request_of: dict[str, object], status: int, param: str | None, code: str | None
) -> None:
    response = request("POST", server.url + PATH, **request_of)
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (status, param, code)


@pytest.mark.parametrize("path", [PATH, "/v1/jobs"])
@pytest.mark.parametrize(
    ("charset", "name", "value", "param"),
    [
        ("utf-7", "prompt", "confidential +2AA-", "prompt"),
        ("utf-7", "+2AA-", "confidential", "?"),
        ("unicode_escape", "prompt", r"confidential \ud800", "prompt"),
        ("undefined", "prompt", "confidential", None),
        ("idna", "prompt", "xn--confidential-", None),
    ],
)
def test_charsets_whose_text_is_none(
    start_server: Callable[..., Server],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    path: str,
    charset: str,
    name: str,
    value: str,
    param: str | None,
) -> None:
    server = start_server(state_dir=tmp_path)
    parts = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
    parts += '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    content_type = f"multipart/form-data; boundary=b; charset={charset}"
    body = parts.encode() + CLIP + b"\r\n--b--\r\n"
    response = request("POST", server.url + path, content=body, headers={"content-type": content_type})
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_value", param)
    assert "confidential" not in caplog.text + response.text


def test_a_charset_that_is_text(server: Server) -> None:
    part = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    body = part.format("model", "").encode("utf-7") + "gr\xfcn-+-\r\n".encode("utf-7")
    body += part.format("file", '; filename="a"').encode() + CLIP + b"\r\n--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b; charset=utf-7"}
    response = request("POST", server.url + PATH, content=body, headers=headers)
    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")
    assert "gr\xfcn" in error_of(response)["message"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/dev/null", "a\x00b.wav", "x" * 2000, "ä ö.wav", "a\r\nb"])
def test_the_file_name_does_not_matter(server: Server, name: str) -> None:
    assert post(server, name=name).json()["text"] == TEXT


def test_nothing_stays_on_disk(
    start_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = start_server(max_upload_bytes=3_000_000)
    server.fake.hold()
    # Well above a megabyte, so that it is spooled to disk; seen from outside while it is being worked on.
    with connected(server) as connection:
        body = (
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ndefault\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%s\r\n--b--\r\n'
            % wav_of_size(2_500_000)
        )
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
        )
        connection.sendall(body)
        wait_until(lambda: server.fake.running == 1)
        assert os.listdir(tmp_path) == []
        server.fake.release()
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", [PATH, "/v1/jobs"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told(
    start_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, number: int
) -> None:
    server = start_server(state_dir=tmp_path)

    def full(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as disk:
        disk.setattr("tempfile.SpooledTemporaryFile.write", full)
        response = request("POST", server.url + path, files={"file": ("a", CLIP)}, data={"model": "default"})
    assert (response.status_code, error_of(response)["code"]) == (503, "storage_full")
    assert int(response.headers["retry-after"]) > 0
    assert post(server).json()["text"] == TEXT


def connected(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port), timeout=60)
