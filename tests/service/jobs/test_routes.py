"""`/v1/jobs` over HTTP, against a running server around a fake model."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from service.keys import KeyFile
from service.settings import Settings
from tests.service.caption_readers import read_srt, read_vtt, text_of
from tests.service.conftest import Server, request, serving, wait_until
from tests.service.fakes import TEXT, FakeTranscriber, wav
from tests.service.jobs.receiver import receiving

KEYS = {"id", "object", "status", "progress", "attempts", "created_at", "started_at", "finished_at", "error"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("state")
    with serving(
        Settings(state_dir=folder, webhook_networks="127.0.0.0/8", remember_s=0), FakeTranscriber()
    ) as running:
        yield running


@pytest.fixture
def start_server(tmp_path: Path) -> Callable[..., Any]:
    """Serves jobs from a folder of the test's own, so that a second server finds what the first has left."""

    def start(**settings: object) -> Any:
        return serving(Settings.model_validate({"state_dir": tmp_path, **settings}), FakeTranscriber())

    return start


def post(server: Server, *, headers: dict[str, str] | None = None, audio: bytes = b"", **fields: Any) -> httpx.Response:
    return request(
        "POST",
        f"{server.url}/v1/jobs",
        files={"file": ("../../etc/passwd", audio or wav())},
        data={"model": "default", **fields},
        headers=headers,
    )


def made(server: Server, **more: Any) -> str:
    response = post(server, **more)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def get(server: Server, path: str, **params: Any) -> httpx.Response:
    return request("GET", f"{server.url}/v1/jobs{path}", params=params)


def code_of(response: httpx.Response) -> tuple[int, str | None, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


def ended(server: Server, job_id: str) -> dict[str, Any]:
    wait_until(lambda: get(server, f"/{job_id}").json()["finished_at"] is not None)
    return dict(get(server, f"/{job_id}").json())


def test_the_job_object(server: Server) -> None:
    response = post(server)
    assert response.status_code == 202
    job = response.json()
    assert set(job) == KEYS
    assert (job["object"], job["attempts"], job["error"]) == ("transcription.job", 0, None)
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    done = ended(server, job["id"])
    assert set(done) == KEYS
    assert (done["status"], done["progress"], done["attempts"]) == ("completed", 1.0, 1)
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]


def test_the_result_in_every_format(server: Server) -> None:
    job_id = made(server)
    ended(server, job_id)

    def result(**params: Any) -> httpx.Response:
        response = get(server, f"/{job_id}/result", **params)
        assert response.status_code == 200, response.text
        return response

    assert result().json()["text"] == TEXT
    assert "logprobs" in result(**{"include[]": "logprobs"}).json()
    assert result(response_format="text").text == TEXT + "\n"
    srt, vtt = result(response_format="srt"), result(response_format="vtt")
    assert text_of(read_srt(srt.text)) == TEXT
    assert read_srt(srt.text) == read_vtt(vtt.text)
    assert srt.headers["content-type"].startswith("application/x-subrip")
    verbose = result(response_format="verbose_json").json()
    assert verbose["words"] and verbose["segments"]
    words = result(response_format="verbose_json", **{"timestamp_granularities[]": "word"}).json()
    assert words["words"] == verbose["words"] and "segments" not in words
    assert result(response_format="verbose_json", timestamp_granularities="word").json() == words
    assert result(include="logprobs").json() == result(**{"include[]": "logprobs"}).json()
    direct = request(
        "POST",
        f"{server.url}/v1/audio/transcriptions",
        files={"file": ("a", wav())},
        data={"model": "default", "response_format": "verbose_json"},
    )
    assert direct.json() == verbose


def test_the_result_as_it_was_asked_for_with_the_job(server: Server) -> None:
    job_id = made(server, response_format="verbose_json", **{"timestamp_granularities[]": "word"})
    ended(server, job_id)
    assert "segments" not in get(server, f"/{job_id}/result").json()
    assert "segments" not in get(server, f"/{job_id}/result", response_format="verbose_json").json()
    assert get(server, f"/{job_id}/result", response_format="text").text == TEXT + "\n"
    assert code_of(get(server, f"/{job_id}/result", **{"include[]": "logprobs"})) == (400, "invalid_value", "include")
    assert code_of(get(server, f"/{job_id}/result", response_format="xml"))[0] == 400
    for name in ("timestamp_granularities", "timestamp_granularities[]"):
        refused = code_of(get(server, f"/{job_id}/result", **{name: "foo"}))
        assert refused == (400, "invalid_value", "timestamp_granularities")


def test_no_result_before_the_end(server: Server) -> None:
    server.fake.hold()
    try:
        job_id = made(server)
        wait_until(lambda: get(server, f"/{job_id}").json()["status"] == "running")
        response = get(server, f"/{job_id}/result")
        assert code_of(response) == (409, "job_not_finished", None)
        assert "is running" in response.json()["error"]["message"]
        assert response.headers["retry-after"] == "1"
        cancelled = request("DELETE", f"{server.url}/v1/jobs/{job_id}")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert code_of(get(server, f"/{job_id}/result")) == (409, "job_cancelled", None)
    finally:
        server.fake.release()
    erased = request("DELETE", f"{server.url}/v1/jobs/{job_id}")
    assert erased.json() == {"id": job_id, "object": "transcription.job", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/webhooks"), ("DELETE", "")):
        response = request(method, f"{server.url}/v1/jobs/{job_id}{path}")
        assert code_of(response) == (404, "job_not_found", None)


def test_audio_that_cannot_be_read_is_the_job_s_end(server: Server) -> None:
    failed = ended(server, made(server, audio=b"not audio"))
    assert (failed["status"], failed["error"]["code"]) == ("failed", "unsupported_audio")
    assert code_of(get(server, f"/{failed['id']}/result")) == (409, "job_failed", None)


def test_an_idempotency_key(server: Server) -> None:
    first = made(server, headers={"Idempotency-Key": "one"})
    assert made(server, headers={"Idempotency-Key": "one"}) == first
    other = post(server, headers={"Idempotency-Key": "one"}, response_format="srt")
    assert code_of(other) == (422, "idempotency_key_reused", None)
    for key in ("", "a b", 256 * "k"):
        assert code_of(post(server, headers={"Idempotency-Key": key}))[0] == 400, key
    assert made(server, headers={"Idempotency-Key": 255 * "k"})


def test_openai_s_client_raises_its_own_errors_and_asks_again_only_where_that_helps(server: Server) -> None:
    sent: list[Any] = []
    http = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})
    server.fake.hold()
    try:
        job_id = made(server, headers={"Idempotency-Key": "sdk"})
        request("DELETE", f"{server.url}/v1/jobs/{job_id}")
    finally:
        server.fake.release()
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=http) as client:
        with pytest.raises(openai.ConflictError, match="was cancelled") as conflict:
            client.get(f"/jobs/{job_id}/result", cast_to=object)
        assert (conflict.value.code, len(sent)) == ("job_cancelled", 1)
        with pytest.raises(openai.UnprocessableEntityError, match=job_id) as reused:
            client.post(
                "/jobs",
                cast_to=object,
                body={"model": "default"},
                files={"file": ("a", wav(0.5))},
                options={"headers": {"Idempotency-Key": "sdk", "Content-Type": "multipart/form-data"}},
            )
        assert reused.value.code == "idempotency_key_reused"
        assert reused.value.request_id


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "nothing"}, (404, "model_not_found", "model")),
        ({"language": "de"}, (400, "unsupported_language", "language")),
        ({"keywords": 1000 * "a"}, (400, "invalid_keywords", "keywords")),
        ({"stream": "true"}, (400, "invalid_value", "stream")),
        ({"webhook_url": "http://10.0.0.1/"}, (400, "invalid_value", "webhook_url")),
        ({"webhook_url": ["https://example.com", "https://example.org"]}, (400, "invalid_value", "webhook_url")),
        ({"webhook": "https://example.com"}, (400, "unknown_parameter", "webhook")),
    ],
)
def test_what_cannot_be_asked_for(server: Server, fields: dict[str, Any], expected: tuple[int, str, str]) -> None:
    assert code_of(post(server, **fields)) == expected


def test_the_list_goes_page_by_page(server: Server) -> None:
    ids = {made(server) for _ in range(3)}
    newest = get(server, "", limit=3).json()
    assert newest["object"] == "list"
    assert {job["id"] for job in newest["data"]} == ids
    assert (newest["first_id"], newest["last_id"]) == (newest["data"][0]["id"], newest["data"][-1]["id"])
    seen, after = [], None
    while True:
        page = get(server, "", limit=2, **({"after": after} if after else {})).json()
        seen += [job["id"] for job in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert seen[:3] == [job["id"] for job in newest["data"]]
    assert len(seen) == len(set(seen))
    oldest_first = get(server, "", order="asc", limit=100).json()["data"]
    assert [job["id"] for job in oldest_first] == seen[::-1]
    for wrong in ({"limit": 0}, {"limit": 101}, {"after": "job_1"}, {"order": "up"}):
        assert code_of(get(server, "", **wrong))[0] == 400


def test_webhooks_are_seen_and_replayed(server: Server) -> None:
    with receiving() as receiver:
        job_id = made(server, webhook_url=receiver.url)
        ended(server, job_id)

        def webhooks() -> list[dict[str, Any]]:
            return list(get(server, f"/{job_id}/webhooks").json()["data"])

        wait_until(lambda: [told["status"] for told in webhooks()] == ["delivered"])
        (told,) = webhooks()
        replayed = request("POST", f"{server.url}/v1/jobs/{job_id}/webhooks/{told['id']}/replay")
        assert (replayed.status_code, replayed.json()["status"]) == (202, "pending")
        wait_until(lambda: len(receiver.messages) == 2)
        assert receiver.objects[0] == receiver.objects[1] == get(server, f"/{job_id}").json()
        unknown = request("POST", f"{server.url}/v1/jobs/{job_id}/webhooks/msg_0/replay")
        assert code_of(unknown) == (404, "webhook_not_found", None)


def test_everybody_sees_the_jobs_of_their_own_key(start_server: Callable[..., Any], tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    ann, bob = ({"Authorization": f"Bearer {keys.create(name, ('jobs',))}"} for name in ("ann", "bob"))
    other = {"Authorization": f"Bearer {keys.create('carl', ('transcribe',))}"}
    with start_server(background_workers=0) as server:
        job_id = made(server, headers=ann)
        url = f"{server.url}/v1/jobs"
        assert [job["id"] for job in request("GET", url, headers=ann).json()["data"]] == [job_id]
        assert request("GET", url, headers=bob).json()["data"] == []
        for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/webhooks"), ("DELETE", "")):
            assert request(method, f"{url}/{job_id}{path}", headers=bob).status_code == 404
        assert request("GET", url, headers=other).status_code == 403
        assert request("DELETE", f"{url}/{job_id}", headers=ann).json()["status"] == "cancelled"


def test_a_name_that_is_given_again_inherits_no_jobs(start_server: Callable[..., Any], tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)

    def bearer(secret: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {secret}"}

    with start_server(background_workers=0) as server:
        job_id = made(server, headers=bearer(keys.create("ann", ("jobs",))))
        url = f"{server.url}/v1/jobs"
        rotated = bearer(keys.rotate("ann", grace_s=0))
        assert [job["id"] for job in request("GET", url, headers=rotated).json()["data"]] == [job_id]
        keys.revoke("ann")
        other = bearer(keys.create("ann", ("jobs",)))
        assert request("GET", url, headers=other).json()["data"] == []
        assert request("GET", f"{url}/{job_id}", headers=other).status_code == 404


def test_jobs_wait_for_the_next_server(start_server: Callable[..., Any], tmp_path: Path) -> None:
    with start_server(shutdown_s=0) as first:
        first.fake.hold()
        ids = [made(first) for _ in range(2)]
        wait_until(lambda: first.fake.running >= 1)
    with start_server() as second:
        done = [ended(second, job_id) for job_id in ids]
    assert [job["status"] for job in done] == 2 * ["completed"]
    assert not list((tmp_path / "jobs" / "audio").iterdir())


def test_no_room(start_server: Callable[..., Any]) -> None:
    with start_server(max_jobs=1, background_workers=0) as server:
        key = {"Idempotency-Key": "a"}
        job_id = made(server, headers=key)
        assert made(server, headers=key) == job_id
        response = post(server)
        assert code_of(response) == (429, "queue_full", None)
        assert int(response.headers["retry-after"]) > 0


def test_a_folder_that_cannot_be_written_stops_jobs_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with serving(Settings(state_dir=tmp_path / "file"), FakeTranscriber()) as server:
        response = post(server)
        assert code_of(response) == (503, "jobs_unavailable", None)
        assert "CEPSTRA_STATE_DIR" in response.json()["error"]["message"]
        direct = {"files": {"file": ("a", wav())}, "data": {"model": "default"}}
        assert request("POST", f"{server.url}/v1/audio/transcriptions", **direct).json()["text"] == TEXT


def test_jobs_of_a_newer_version_stop_jobs_alone(tmp_path: Path) -> None:
    """Whoever went back a version is told so, and nothing of the newer one is touched."""
    (tmp_path / "jobs").mkdir()
    file = tmp_path / "jobs" / "jobs.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as newer:
        newer.executescript("CREATE TABLE jobs_version (version BIGINT NOT NULL); INSERT INTO jobs_version VALUES (99)")
    with serving(Settings(state_dir=tmp_path), FakeTranscriber()) as server:
        for response in (post(server), get(server, "")):
            assert code_of(response) == (503, "jobs_unavailable", None)
            assert "has version 99" in response.json()["error"]["message"]
        direct = {"files": {"file": ("a", wav())}, "data": {"model": "default"}}
        assert request("POST", f"{server.url}/v1/audio/transcriptions", **direct).json()["text"] == TEXT
    with contextlib.closing(sqlite3.connect(file)) as newer:
        assert newer.execute("SELECT name FROM sqlite_master").fetchall() == [("jobs_version",)]


def test_metrics_count_jobs_by_state(server: Server) -> None:
    def completed() -> float:
        text = request("GET", f"{server.url}/metrics").text
        rows = [line for line in text.splitlines() if line.startswith('cepstra_jobs{state="completed"}')]
        return float(rows[0].rpartition(" ")[2]) if rows else 0.0

    before = completed()
    ended(server, made(server))
    assert completed() == before + 1
