"""What is promised with a 202 holds when processes are killed; `make prove-jobs` kills 200 times."""

import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.jobs.jobs import Jobs
from service.schemas import TranscriptionOptions
from service.settings import Settings
from tests.conftest import SpokenClip
from tests.service.conftest import is_ready, request, wait_until
from tests.service.jobs.conftest import on_sqlite
from tests.service.jobs.processes import LONG_S, SHIPPED, Process, Submitter, noise, recogniser
from tests.service.jobs.receiver import receiving

ROOT = Path(__file__).resolve().parents[3]
KILLS = int(os.environ.get("CEPSTRA_KILLS", "2"))
MOST_OPEN = 24  # jobs at a time: all places of both servers taken, and a queue
LONGEST_S = 3600.0  # for the end of all jobs; only so that a failure is one

Start = Callable[..., Process]


@pytest.fixture
def settings(tmp_path: Path, database_url: str | None) -> dict[str, Any]:
    """Quick to notice who has died, and patient with jobs whose worker is killed again and again."""
    return {
        "state_dir": str(tmp_path / "state"),
        "database_url": database_url,
        "background_workers": 2,
        "job_lease_s": 1.0,
        "job_attempts": 10_000,
        "webhook_networks": "127.0.0.0/8",
        "webhook_retry_s": 0.5,
        "webhook_attempts": 30,
        "remember_s": 0,
    }


@pytest.fixture
def start(settings: dict[str, Any], tmp_path: Path) -> Iterator[Start]:
    """Starts servers that share jobs; all are killed in the end."""
    with ExitStack() as stack:

        def begin(**more: object) -> Process:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            process = Process({**settings, **more}, port, tmp_path / "log")
            process.start()
            stack.callback(process.kill)
            return process

        yield begin


@pytest.mark.timeout(7200)
def test_every_accepted_job_ends_once_whoever_is_killed(
    start: Start, settings: dict[str, Any], tmp_path: Path, synthetic_clips: list[SpokenClip]
) -> None:
    clips = [clip.path.read_bytes() for clip in synthetic_clips]

    def audio(number: int) -> bytes:
        # Every seventh is large enough to be on its way to disk for a while.
        return clips[number % len(clips)] if SHIPPED else noise(number, 8.0 if number % 7 == 0 else 0.05)

    random.seed(KILLS)
    with receiving() as receiver:
        processes = [start(), start()]
        wait_until(lambda: all(is_ready(process.url) for process in processes))
        client = Submitter(
            [process.url for process in processes],
            audio,
            receiver.url,
            lambda: len({headers["webhook-id"] for headers, _ in list(receiver.messages)}),
            most_open=MOST_OPEN,
            rest_s=0.5 if SHIPPED else 0.05,
        )
        client.start()
        wait_until(lambda: len(client.accepted) > 2)
        for kill in range(1, KILLS + 1):
            # On a busy machine both would otherwise be starting all the time, and no job be there to lose.
            wait_until(lambda: any(is_ready(process.url) for process in processes), 600)
            time.sleep(random.uniform(0.2, 4.0 if SHIPPED else 1.0))
            for process in random.sample(processes, random.choice((1, 1, 1, 2))):
                process.kill()
                process.start()
            if kill % 10 == 0:
                print(f"{kill} times killed, {len(client.accepted)} jobs accepted", flush=True)
        client.stop()
        wait_until(lambda: all(is_ready(process.url) for process in processes))
        url = processes[0].url
        accepted = client.accepted
        wait_until(lambda: all(job["finished_at"] for job in listed(url).values()), LONGEST_S)
        jobs = listed(url)
        told: dict[str, list[Any]] = {}

        def all_told() -> bool:
            told.clear()
            for headers, body in list(receiver.messages):
                data = json.loads(body)["data"]
                told.setdefault(data["id"], []).append((headers["webhook-id"], data))
            return set(told) == set(jobs)

        wait_until(all_told, LONGEST_S)
        messages = {job_id: request("GET", f"{url}/v1/jobs/{job_id}/webhooks").json()["data"] for job_id in jobs}
        heard = {job_id: result(url, job_id) for job_id in jobs}
    assert set(jobs) == set(accepted), "no job is lost, and none is made twice"
    assert {job["status"] for job in jobs.values()} == {"completed"}
    undisturbed = recogniser()
    expected = {sent: undisturbed.transcribe(sent).text for sent in set(accepted.values())}
    assert heard == {job_id: expected[sent] for job_id, sent in accepted.items()}
    assert all(len(found) == 1 for found in messages.values()), "a job that ended twice has two messages"
    for job_id, copies in told.items():
        assert {message_id for message_id, _ in copies} == {messages[job_id][0]["id"]}
        assert all(data == jobs[job_id] for _, data in copies)
    again = sum(job["attempts"] > 1 for job in jobs.values())
    sent_twice = sum(len(copies) > 1 for copies in told.values())
    print(
        f"\n{KILLS} times killed: {len(jobs)} jobs, {again} of them begun more than once, "
        f"{client.refused} requests sent again, {sent_twice} webhooks delivered more than once"
    )
    assert again or KILLS < 20, "no kill ever hit a job: nothing was shown"
    left_behind(settings, set(jobs))


def listed(url: str) -> dict[str, dict[str, Any]]:
    """All jobs by id, page by page."""
    found: dict[str, dict[str, Any]] = {}
    after: dict[str, str] = {}
    while True:
        page = request("GET", f"{url}/v1/jobs", params={"limit": 100, "order": "asc", **after}).json()
        found.update({job["id"]: job for job in page["data"]})
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


def result(url: str, job_id: str) -> str:
    response = request("GET", f"{url}/v1/jobs/{job_id}/result")
    assert response.status_code == 200, response.text
    return str(response.json()["text"])


def left_behind(settings: dict[str, Any], job_ids: set[str]) -> None:
    """No audio of any job once what is over was swept, and a sound database."""
    jobs = Jobs(Settings.model_validate(settings), lambda *_: pytest.fail("there is nothing left to hear"))
    jobs._retention.sweep()
    jobs.stop()
    folder = Path(settings["state_dir"]) / "jobs"
    assert not job_ids & {path.name for path in (folder / "audio").iterdir()}
    if not settings["database_url"]:
        database = sqlite3.connect(folder / "jobs.sqlite")
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()


@on_sqlite
def test_sigterm_fails_readiness_first_and_hands_the_job_back(start: Start, settings: dict[str, Any]) -> None:
    stopping = start(drain_s=2.5, shutdown_s=1)
    wait_until(lambda: is_ready(stopping.url))
    with_file = {"files": {"file": ("a", noise(0, 2 * LONG_S))}, "data": {"model": "default"}}
    job_id = request("POST", f"{stopping.url}/v1/jobs", **with_file).json()["id"]
    job_url = f"/v1/jobs/{job_id}"
    wait_until(lambda: request("GET", stopping.url + job_url).json()["status"] == "running")
    stopping.terminate()
    wait_until(lambda: request("GET", f"{stopping.url}/readyz").status_code == 503)
    assert request("GET", f"{stopping.url}/healthz").status_code == 200, "it still listens"
    assert stopping.wait() in (0, -signal.SIGTERM)
    next_one = start(background_workers=0)
    wait_until(lambda: is_ready(next_one.url))
    job = request("GET", next_one.url + job_url).json()
    assert (job["status"], job["attempts"], job["finished_at"]) == ("queued", 0, None)


def test_the_command_work(tmp_path: Path, synthetic_clips: list[SpokenClip]) -> None:
    """`cepstra work` beside something that takes jobs in, with the shipped bundle; it ends in good order."""
    state, log = tmp_path / "state", tmp_path / "log"
    taking_in = Jobs(Settings(state_dir=state), lambda *_: pytest.fail("not this one's work"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CEPSTRA_")}
    variables = {**kept, "CEPSTRA_STATE_DIR": str(state), "CEPSTRA_RUNTIME": "torch", "CEPSTRA_METRICS_PORT": "0"}
    with log.open("wb") as output:
        worker = subprocess.Popen([sys.executable, "-m", "cli", "work"], cwd=ROOT, env=variables, stderr=output)
    try:
        with synthetic_clips[0].path.open("rb") as audio:
            job = taking_in.submit(audio, TranscriptionOptions(model="default"))
        wait_until(lambda: worker.poll() is not None or taking_in.get(job.id).finished, 240.0)
        assert taking_in.get(job.id).status == "completed", log.read_text()
        assert taking_in.transcript(job.id)[1].text
        (url,) = re.findall(r"numbers at (http://127\.0\.0\.1:\d+)/metrics", log.read_text())
        assert request("GET", f"{url}/readyz").status_code == 200
        numbers = request("GET", f"{url}/metrics").text
        assert 'cepstra_jobs{state="completed"} 1.0' in numbers
        assert re.search(r"^cepstra_audio_seconds_total [1-9]", numbers, flags=re.MULTILINE)
        assert re.search(r"^cepstra_batch_rows_count [1-9]", numbers, flags=re.MULTILINE)
        assert request("GET", f"{url}/v1/jobs").status_code == 404
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
        assert "Traceback" not in log.read_text()
    finally:
        worker.kill()
        worker.wait()
        taking_in.stop()
