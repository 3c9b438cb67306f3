"""What ends `cepstra work` at its start, and who may read its numbers; tests/service/jobs/test_kills.py has it work."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from service.errors import ExposedError, JobsUnavailableError, PortError
from service.jobs.jobs import Jobs
from service.keys import KeyFile
from service.probe_server import ProbeServer
from service.recogniser import ServedModel
from service.scheduler import Load
from service.settings import Settings
from service.telemetry import Telemetry
from service.work import open_state
from tests.service.conftest import DECODERS, request
from tests.service.fakes import FakeTranscriber

ROOT = Path(__file__).resolve().parents[2]
STORED = sorted((ROOT / "tests" / "data" / "upgrade").glob("*/sqlite"))[-1]


def test_a_database_of_a_newer_version_ends_it(tmp_path: Path) -> None:
    """It would find no job for ever, and nobody would know why."""
    shutil.copytree(STORED / "state", tmp_path / "state")
    with closing(sqlite3.connect(tmp_path / "state" / "jobs" / "jobs.sqlite")) as database:
        database.execute("UPDATE jobs_version SET version = 99")
        database.commit()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CEPSTRA_")}
    own = {"CEPSTRA_STATE_DIR": str(tmp_path / "state"), "CEPSTRA_BUNDLE": str(STORED / "bundle")}
    command = [sys.executable, "-m", "cli", "work"]
    done = subprocess.run(command, cwd=ROOT, env={**kept, **own}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "The jobs' database has version 99" in done.stderr
    assert "made by a newer one" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("place", "reason"), [("/proc/xx", "No such file or directory"), ("file", "Not a directory")])
def test_a_state_directory_that_cannot_be_used_ends_it(tmp_path: Path, place: str, reason: str) -> None:
    """It would find no job for ever, and say nothing."""
    (tmp_path / "file").touch()
    state = tmp_path / place  # an absolute place stays one
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CEPSTRA_")}
    own = {"CEPSTRA_STATE_DIR": str(state), "CEPSTRA_BUNDLE": str(STORED / "bundle")}
    command = [sys.executable, "-m", "cli", "work"]
    done = subprocess.run(command, cwd=ROOT, env={**kept, **own}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"Jobs cannot be kept in {state}: {reason}. CEPSTRA_STATE_DIR can name another folder." in line


def opened(settings: Settings) -> None:
    jobs = Jobs(settings, lambda *_: pytest.fail("there is no work"))
    try:
        open_state(settings, jobs)
    finally:
        jobs.stop()


def test_a_damaged_database_ends_it(tmp_path: Path) -> None:
    opened(Settings(state_dir=tmp_path))
    (tmp_path / "jobs" / "jobs.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(JobsUnavailableError, match="file is not a database"):
        opened(Settings(state_dir=tmp_path))


def test_a_database_that_is_away_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("psycopg")
    opened(Settings(state_dir=tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none"))
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned[-1] == "waiting for the jobs' database: there is no work until it answers"


def probes(state: Path, **settings: object) -> ProbeServer:
    """Of a process whose model is not loaded yet."""
    made = Settings.model_validate({"state_dir": state, "metrics_port": 0, **settings})
    return ProbeServer(made, ServedModel(made, FakeTranscriber(), DECODERS), Telemetry(lambda: Load({}, {}, 0.0)))


def test_where_there_are_keys_its_numbers_need_one_of_their_scope(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    others, ours = (keys.create(scope, scopes=(scope,)) for scope in ("transcribe", "metrics"))
    server = probes(tmp_path)
    url = f"http://127.0.0.1:{server.port}"
    try:
        assert request("GET", f"{url}/healthz").status_code == 200  # Docker has no key
        answer = request("GET", f"{url}/readyz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        for key, status in ((None, 401), (others, 403), (ours, 200)):
            headers = {"authorization": f"Bearer {key}"} if key else {}
            assert request("GET", f"{url}/metrics", headers=headers).status_code == status
    finally:
        server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port)).close()


def test_it_lets_nobody_in_from_elsewhere_without_keys_unless_that_is_meant(tmp_path: Path) -> None:
    with pytest.raises(ExposedError):
        probes(tmp_path, host="0.0.0.0")
    probes(tmp_path, host="0.0.0.0", allow_anonymous=True).close()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=rf"127\.0\.0\.1:{port} \(CEPSTRA_METRICS_PORT\).*: Address already in use"):
            probes(tmp_path, metrics_port=port)
