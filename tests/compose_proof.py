"""`make prove-compose`: the deployments of docker-compose.yml, brought up for real and disturbed.

Every clip is transcribed by the service alone; the profile `jobs` then has to find the same words, through its proxy
and in jobs, while processes are killed as a crash would end them.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parent.parent
CLIPS = sorted((ROOT / "tests" / "clips").glob("*.flac"))
PATIENCE_S = 1800.0  # for anything; the machine may be busy
WITH_PROMETHEUS = os.environ.get("PROMETHEUS", "1") != "0"
COMPOSE = ["docker", "compose"] if not shutil.which("docker-compose") else ["docker-compose"]


def main(n_jobs: int) -> None:
    """Run the whole proof; raises where something does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        password = Path(folder) / "password"
        password.write_text(secrets.token_hex(16) + "\n")
        password.chmod(0o444)
        os.environ.update(
            COMPOSE_PROJECT_NAME="cepstra-proof",  # a deployment on the same machine is not touched
            CEPSTRA_PUBLISH="127.0.0.1:0",
            CEPSTRA_PROXY_PUBLISH="127.0.0.1:0",
            CEPSTRA_PROMETHEUS_PUBLISH="127.0.0.1:0",
            CEPSTRA_DATABASE_PASSWORD_FILE=str(password),
            CEPSTRA_JOB_LEASE_S="10",
            CEPSTRA_REMEMBER_S="0",  # every answer is computed
        )
        texts = alone()
        with_jobs(texts, n_jobs)
    say("holds")


def alone() -> dict[str, str]:
    """The service alone: what it says of each clip."""
    say("the service alone")
    with deployed() as compose, httpx.Client(base_url=compose.url("cepstra", 8000), timeout=PATIENCE_S) as client:
        wait_for("ready", lambda: is_ready(client))
        texts = {clip.name: transcribe(client, clip) for clip in CLIPS}
        log = compose("logs", "--no-color", "cepstra")
        confined = next(line for line in log.splitlines() if "uploads are decoded" in line)
        assert "seccomp" in confined and "no new privileges" in confined, confined
        say(confined.partition("uploads are ")[2])
    assert all(texts.values()), texts
    for name, text in texts.items():
        say(f"  {name}: {text}")
    return texts


def with_jobs(texts: dict[str, str], n_jobs: int) -> None:
    """The profile `jobs`: the same words, whoever is killed."""
    os.environ.update(COMPOSE_PROFILES="jobs", CEPSTRA_ALONE="0")
    say("the profile jobs, and Prometheus")
    with deployed() as compose, httpx.Client(base_url=compose.url("proxy", 8000), timeout=PATIENCE_S) as client:
        wait_for("ready", lambda: is_ready(client))
        replicas, workers = compose.containers("api"), compose.containers("worker")
        say(f"{len(replicas)} replicas, {len(workers)} workers")
        assert len(replicas) >= 2 and len(workers) >= 2
        assert not compose.containers("cepstra")

        for clip in CLIPS:
            assert transcribe(client, clip) == texts[clip.name]
        through_the_proxy(client, CLIPS[0])

        sent, alive = {}, True
        for number in range(n_jobs):
            if number == 2 * n_jobs // 3:
                crash(compose.containers("database")[0], "the database")
            clip = CLIPS[number % len(CLIPS)]
            sent[submit(client, clip, f"proof-{number}")] = clip.name
            # A clip is heard within a tenth of a second: looked for is a job that runs behind each that is sent.
            for _ in range(5 if alive and number >= n_jobs // 3 else 0):
                if any(job["status"] == "running" for job in all_jobs(client)):
                    crash(workers[0], "a worker")
                    alive = False
                    break
        assert not alive, "no job was seen to run"
        assert len(sent) == n_jobs, "one idempotency key, one job"

        wait_for("the end of all jobs", lambda: all(job["status"] in ENDED for job in all_jobs(client)))
        jobs = all_jobs(client)
        assert sorted(job["id"] for job in jobs) == sorted(sent), "as many jobs as were sent"
        assert [job["status"] for job in jobs] == ["completed"] * n_jobs, jobs
        for job_id, name in sent.items():
            assert client.get(f"/v1/jobs/{job_id}/result").json()["text"] == texts[name], job_id
        again = sum(job["attempts"] > 1 for job in jobs)
        say(f"{n_jobs} jobs sent, {len(jobs)} completed with the right text, {again} in a second attempt")
        wait_for("the killed worker's return", lambda: compose.containers("worker") == workers)
        assert set(compose.containers("api")) == set(replicas)
        if WITH_PROMETHEUS:
            seen_by_prometheus(compose, len(replicas) + len(workers))


def seen_by_prometheus(compose: "Deployment", n_containers: int) -> None:
    """It finds every replica and every worker by name, and the audio of the jobs is the workers'."""
    os.environ["COMPOSE_PROFILES"] = "jobs,monitoring"
    compose("up", "-d", "--no-build", "--no-deps", "prometheus")
    with httpx.Client(base_url=compose.url("prometheus", 9090), timeout=60) as client:

        def values(query: str) -> dict[str, float]:
            try:
                found = client.get("/api/v1/query", params={"query": query}).json()["data"]["result"]
            except httpx.TransportError:
                return {}
            return {series["metric"].get("instance", ""): float(series["value"][1]) for series in found}

        wait_for("all containers' numbers", lambda: list(values('up{job="cepstra"}').values()) == [1.0] * n_containers)
        wait_for("the workers' audio", lambda: any(values("cepstra_audio_seconds_total").values()))
        audio = values("cepstra_audio_seconds_total")
        jobs = set(values('cepstra_jobs{state="completed"}').values())
        say(f"Prometheus reads {n_containers} containers, seconds of audio {sorted(audio.values())}, completed {jobs}")
        assert len(jobs) == 1, "everyone counts the same jobs"


ENDED = ("completed", "failed", "cancelled")


def through_the_proxy(client: httpx.Client, clip: Path) -> None:
    """Events come as they happen, sockets open, and what is too large is refused before it is sent."""
    data = {"model": "default", "stream": "true"}
    with client.stream("POST", "/v1/audio/transcriptions", data=data, files={"file": clip.read_bytes()}) as answer:
        events = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert any("transcript.text.done" in event for event in events), events
    with connect(f"{str(client.base_url).replace('http', 'ws', 1).rstrip('/')}/v1/stream", open_timeout=60) as socket:
        assert json.loads(socket.recv(timeout=PATIENCE_S))["type"] == "ready"
    announced = HTTPConnection(client.base_url.host, client.base_url.port, timeout=PATIENCE_S)
    announced.putrequest("POST", "/v1/audio/transcriptions")
    announced.putheader("content-length", str(1 << 40))
    announced.endheaders()
    refused = announced.getresponse()
    assert refused.status == 413
    assert json.loads(refused.read())["error"]["code"] == "file_too_large"
    announced.close()
    assert client.get("/metrics").status_code == 404
    say("the proxy passes streams and sockets on, and refuses what is too large")


def transcribe(client: httpx.Client, clip: Path) -> str:
    """The text of a clip, by the transcription route."""
    answer = client.post("/v1/audio/transcriptions", data={"model": "default"}, files={"file": clip.read_bytes()})
    return str(answer.raise_for_status().json()["text"])


def submit(client: httpx.Client, clip: Path, key: str) -> str:
    """The name of the job; asks again while jobs are not taken, which an idempotency key makes safe."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            files, data = {"file": clip.read_bytes()}, {"model": "default"}
            answer = client.post("/v1/jobs", data=data, files=files, headers={"Idempotency-Key": key})
            if answer.status_code not in (502, 503):
                return str(answer.raise_for_status().json()["id"])
        assert time.monotonic() < deadline_s, f"{key} is not taken"
        time.sleep(0.5)


def all_jobs(client: httpx.Client) -> list[dict[str, Any]]:
    """Every job that there is, page after page; none while the database is away."""
    jobs: list[dict[str, Any]] = []
    while True:
        after = {"after": jobs[-1]["id"]} if jobs else {}
        answer = client.get("/v1/jobs", params={"limit": 100, "order": "asc", **after})
        if answer.status_code == 503:
            return [{"status": "unknown"}]
        page = answer.raise_for_status().json()
        jobs += page["data"]
        if not page["has_more"]:
            return jobs


def crash(container: str, what: str) -> None:
    """Kill a container's first process as a crash would: Docker takes `docker kill` for somebody's wish."""
    pid = int(run("docker", "inspect", "-f", "{{.State.Pid}}", container))
    os.kill(pid, signal.SIGKILL)
    say(f"killed {what}")


def is_ready(client: httpx.Client) -> bool:
    """Whether a server behind this address is ready."""
    try:
        return client.get("/readyz", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    """Ask once a second."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(1)


class Deployment:
    """What Compose has brought up."""

    def __call__(self, *arguments: str) -> str:
        """A command of Compose; its output."""
        return run(*COMPOSE, *arguments)

    def containers(self, service: str) -> list[str]:
        """Running containers of a service."""
        return sorted(self("ps", "-q", service).split()) if service in self("ps", "--services").split() else []

    def url(self, service: str, port: int) -> str:
        """Where a port is published."""
        address = self("port", service, str(port)).strip()
        assert address.startswith("127.0.0.1:"), f"published at {address}, not on this machine alone"
        return f"http://{address}"


@contextlib.contextmanager
def deployed() -> Iterator[Deployment]:
    """Everything of the profiles that are set, and nothing of it afterwards."""
    compose = Deployment()
    try:
        compose("up", "-d", "--no-build")
        yield compose
    except BaseException:
        print(compose("logs", "--no-color", "--tail", "40"), file=sys.stderr)
        raise
    finally:
        compose("down", "--volumes", "--timeout", "60")


def run(*command: str) -> str:
    """Its standard output; raises with its standard error where it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def say(what: str) -> None:
    """With the time, so that pauses can be seen."""
    print(f"prove-compose {time.strftime('%H:%M:%S')}: {what}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
