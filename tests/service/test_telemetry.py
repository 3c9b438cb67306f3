"""What is seen from outside: numbers, log lines and traces, none of which tells what was said."""

import io
import json
import logging
import logging.config
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from model.batching import Batch
from model.stages import stage
from model.transcript import Transcript
from service import app as app_module
from service.app import create_app
from service.errors import JobsUnavailableError
from service.logs import logging_config
from service.settings import Settings
from service.state import free_bytes
from service.tracing import Tracing, TracingUnavailableError
from tests.service.conftest import DECODERS, Server, request, wait_until
from tests.service.fakes import SENTENCES, FakeTranscriber, wav
from tests.service.test_uploads import PATH, post


class Staged(FakeTranscriber):
    """Goes through a stage, as the real one does."""

    def transcribe(self, audio: Any, **options: Any) -> Transcript:
        with stage("search"):
            return super().transcribe(audio, **options)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(remember_s=0), Staged(), DECODERS)) as connected:
        while connected.get("/readyz").status_code != 200:
            pass
        yield connected


def numbers(text: str) -> dict[tuple[str, ...], float]:
    """Name and label values → value."""
    families = text_string_to_metric_families(text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_sockets_have_an_id_and_are_counted_and_logged(
    start_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = start_server(max_sockets=1)
    url = f"{server.url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription"
    with pytest.raises(InvalidStatus) as refused:
        connect(url, proxy=None, origin=Origin("https://elsewhere.example"))
    answer = refused.value.response
    assert answer.status_code == 403
    assert answer.headers["x-content-type-options"] == "nosniff"
    with connect(url, proxy=None, additional_headers={"x-request-id": "mine"}) as ws:
        assert ws.response is not None
        assert ws.response.headers["x-request-id"] == "mine"
        ws.recv(timeout=60)
        with connect(url, proxy=None) as other:
            other.recv(timeout=60)
    wait_until(lambda: "mine GET '/v1/realtime' -> 101 in " in caplog.text)
    assert f"{answer.headers['x-request-id']} GET '/v1/realtime' -> 403 in " in caplog.text
    assert "without completing handshake" not in caplog.text
    counted = numbers(request("GET", f"{server.url}/metrics").text)
    assert counted["cepstra_rejections_total", json.loads(answer.body or b"")["error"]["code"]] == 1
    assert counted["cepstra_rejections_total", "too_many_sockets"] == 1
    assert counted["cepstra_requests_total", "GET", "none", "403"] == 1
    assert counted["cepstra_requests_total", "GET", "/v1/realtime", "101"] == 1
    assert counted["cepstra_requests_total", "GET", "/v1/realtime", "429"] == 1
    assert ("cepstra_request_seconds_count", "/v1/realtime") not in counted


def upload(client: TestClient, content: bytes | None = None) -> None:
    client.post(PATH, files={"file": ("secret-name.wav", content or wav(2.0))}, data={"model": "default"})


def test_the_numbers_are_those_of_what_happened(client: TestClient) -> None:
    before = numbers(client.get("/metrics").text)
    upload(client)
    upload(client)
    upload(client, b"no audio at all")
    client.get("/somewhere/made-up-by-the-client")
    telemetry = client.app.state.telemetry  # type: ignore[attr-defined]  # it is our application
    telemetry.computed(Batch(rows=3, frames=900, padded_frames=1000, waited_s=0.2, took_s=0.5))
    telemetry.jobs_by_state = lambda: {"queued": 7, "failed": 1}
    after = numbers(client.get("/metrics").text)
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert grown["cepstra_requests_total", "POST", PATH, "200"] == 2
    assert grown["cepstra_requests_total", "POST", PATH, "400"] == 1
    assert grown["cepstra_requests_total", "GET", "none", "404"] == 1
    assert grown["cepstra_request_seconds_count", PATH] == 3
    assert grown["cepstra_rejections_total", "unsupported_audio"] == 1
    assert grown["cepstra_rejections_total", "unknown_url"] == 1
    assert grown["cepstra_audio_seconds_total",] == pytest.approx(4.0)
    assert grown["cepstra_real_time_factor_count",] == 2
    assert grown["cepstra_stage_seconds_total", "search"] > 0
    assert grown["cepstra_batch_rows_sum",] == 3
    assert grown["cepstra_network_frames_total",] == 900
    assert grown["cepstra_network_padding_frames_total",] == 100
    assert after["cepstra_ready",] == 1
    assert after["cepstra_jobs", "queued"] == 7
    assert after["process_resident_memory_bytes",] > 10e6
    assert not any("made-up" in "".join(name) for name in after)


def test_without_the_jobs_database_all_other_numbers_are_there(client: TestClient) -> None:
    telemetry = client.app.state.telemetry  # type: ignore[attr-defined]  # it is our application
    there = numbers(client.get("/metrics").text)
    assert (there["cepstra_jobs_up",], there["cepstra_jobs", "queued"]) == (1, 0)

    def away() -> dict[str, int]:
        raise JobsUnavailableError("away")

    telemetry.jobs_by_state = away
    answer = client.get("/metrics")
    seen = numbers(answer.text)
    assert (answer.status_code, seen["cepstra_jobs_up",], seen["cepstra_ready",]) == (200, 0, 1)
    assert ("cepstra_jobs", "queued") not in seen


def test_room_on_the_disk_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    for folder in (tmp_path, tmp_path / "not" / "yet"):
        assert free_bytes(folder) == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.1)


def test_the_queue_is_seen(start_server: Callable[..., Server]) -> None:
    server = start_server(workers=1, remember_s=0)
    server.fake.hold()

    def seen() -> dict[tuple[str, ...], float]:
        return numbers(request("GET", f"{server.url}/metrics").text)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(post, server) for _ in range(2)]
        try:
            wait_until(lambda: seen()["cepstra_queue_depth", "interactive"] == 1)
            assert seen()["cepstra_running", "interactive"] == 1
            assert seen()["cepstra_queue_age_seconds",] > 0
        finally:
            server.fake.release()
        assert [call.result().status_code for call in calls] == [200, 200]
    assert seen()["cepstra_queue_age_seconds",] == 0


@pytest.fixture
def log() -> Iterator[Callable[[str], io.StringIO]]:
    """Sends the log into a buffer, in the given format."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def start(log_format: Any) -> io.StringIO:
        buffer = io.StringIO()
        logging.config.dictConfig(logging_config("info", log_format))
        for handler in root.handlers:
            assert isinstance(handler, logging.StreamHandler)
            handler.setStream(buffer)
        return buffer

    yield start
    root.handlers[:] = before
    root.setLevel(level)


def test_a_log_line_is_an_object_and_tells_the_request_but_not_what_was_said(
    client: TestClient, log: Callable[[Any], io.StringIO]
) -> None:
    buffer = log("json")
    client.post(
        PATH, files={"file": ("secret-name.wav", wav())}, data={"model": "default"}, headers={"x-request-id": "mine-1"}
    )
    client.app.state.served.ready().peek().error = ZeroDivisionError("deep inside")  # type: ignore[attr-defined]  # our application
    client.post(
        PATH, files={"file": ("secret-name.wav", wav())}, data={"model": "default"}, headers={"x-request-id": "mine-2"}
    )
    lines = [json.loads(line) for line in buffer.getvalue().splitlines()]
    (access,) = [line for line in lines if line.get("request_id") == "mine-1" and line["logger"] == "cepstra.access"]
    assert (access["method"], access["path"], access["status"], access["level"]) == ("POST", PATH, 200, "info")
    assert access["duration_ms"] > 0
    assert access["time"].endswith("Z")
    failures = [line for line in lines if line["level"] == "error"]
    assert failures
    assert all(line["request_id"] == "mine-2" for line in failures)
    assert any("ZeroDivisionError: deep inside" in line.get("exception", "") for line in failures)
    for said in ("secret-name", "turnips", "mutton", *SENTENCES):
        assert said not in buffer.getvalue()


def test_a_plain_line_names_the_request_once(client: TestClient, log: Callable[[Any], io.StringIO]) -> None:
    buffer = log("plain")
    client.get("/v1/models", headers={"x-request-id": "mine-3"})
    (line,) = [line for line in buffer.getvalue().splitlines() if "/v1/models" in line and "cepstra.access" in line]
    assert line.count("mine-3") == 1


def test_a_trace_has_the_request_and_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = InMemorySpanExporter()
    monkeypatch.setattr(app_module, "Tracing", lambda: Tracing(spans))
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with TestClient(create_app(Settings(remember_s=0, traces=True), Staged(), DECODERS)) as client:
        while client.get("/readyz").status_code != 200:
            pass
        client.post(
            PATH,
            files={"file": ("a.wav", wav())},
            data={"model": "default"},
            headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"},
        )
    ours = [span for span in spans.get_finished_spans() if f"{span.context.trace_id:032x}" == trace_id]
    by_name = {span.name: span for span in ours}
    request_span = by_name[f"POST {PATH}"]
    assert request_span.attributes is not None
    assert request_span.attributes["http.response.status_code"] == 200
    assert by_name["search"].parent is not None
    assert by_name["search"].parent.span_id == request_span.context.span_id
    assert request_span.resource.attributes["service.name"] == "cepstra"


def test_traces_without_their_extra_end_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(TracingUnavailableError, match=r"cepstra\[otel\]"):
        create_app(Settings(traces=True), FakeTranscriber())
    create_app(Settings(), FakeTranscriber())
