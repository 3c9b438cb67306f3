"""A backup is the state of one moment, taken while jobs come and go; what is restored from it goes on elsewhere."""

import hashlib
import io
import json
import os
import random
import sqlite3
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from model.cancellation import CancelToken
from model.transcript import Transcript
from service.backup import MANIFEST, read_backup, write_backup
from service.errors import BackupError, JobNotFoundError
from service.jobs.jobs import Jobs
from service.keys import KeyFile
from service.promotions import Promotions
from service.recogniser import Progress
from service.runtime_memory import RuntimeMemory
from service.schemas import TranscriptionOptions
from service.settings import Settings
from tests.service.conftest import wait_until
from tests.service.fakes import transcript_of

OPTIONS = TranscriptionOptions(model="default")


def ear(audio: Path, options: TranscriptionOptions, progress: Progress, cancelled: CancelToken) -> Transcript:
    """Words that depend on every byte, after a moment."""
    content = audio.read_bytes()
    time.sleep(random.uniform(0, 0.03))
    return transcript_of([words_of(content)])


def words_of(audio: bytes) -> str:
    return hashlib.sha256(audio).hexdigest()


@contextmanager
def working(state_dir: Path, workers: int = 2) -> Iterator[Jobs]:
    jobs = Jobs(Settings(state_dir=state_dir, background_workers=workers, shutdown_s=0), ear)
    jobs.start()
    if workers:
        jobs.start_working()
    try:
        yield jobs
    finally:
        jobs.stop()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Keys, a promoted model, a job that has ended and one that waits."""
    state = tmp_path / "state"
    KeyFile(state).create("ann", ("jobs",))
    Promotions(state).promote("other")
    with working(state) as jobs:
        done = jobs.submit(io.BytesIO(b"done"), OPTIONS, owner="ann", webhook_url="https://nowhere.invalid/")
        wait_until(lambda: jobs.get(done.id, "ann").finished)
    with working(state, workers=0) as jobs:
        jobs.submit(io.BytesIO(b"waits"), OPTIONS, owner="ann")
    return state


def backed_up(state: Path) -> bytes:
    out = io.BytesIO()
    write_backup(state, out)
    return out.getvalue()


def test_jobs_that_run_meanwhile_are_all_in_it_and_end_well_elsewhere(tmp_path: Path) -> None:
    audio: dict[str, bytes] = {}
    over = threading.Event()
    with working(tmp_path / "state") as jobs:

        def submit() -> None:
            while not over.is_set():
                content = os.urandom(2000)
                audio[jobs.submit(io.BytesIO(content), OPTIONS).id] = content
                time.sleep(0.005)

        client = threading.Thread(target=submit)
        client.start()
        try:
            wait_until(lambda: jobs.count_by_status().get("completed", 0) >= 5)
            taken = []
            for _ in range(3):
                accepted = set(audio)
                taken.append((accepted, backed_up(tmp_path / "state")))
                time.sleep(0.1)
        finally:
            over.set()
            client.join()
    unfinished = 0
    for number, (accepted, content) in enumerate(taken):
        elsewhere = tmp_path / f"elsewhere-{number}"
        read_backup(io.BytesIO(content), elsewhere)
        with sqlite3.connect(elsewhere / "jobs" / "jobs.sqlite") as database:
            rows = dict(database.execute("SELECT id, status FROM jobs").fetchall())
            # As after a power cut: a worker elsewhere would wait until the leases of the one backed up end.
            database.execute("UPDATE jobs SET lease_until = 0 WHERE status = 'running'")
        database.close()
        unfinished += sum(status in ("queued", "running") for status in rows.values())
        assert accepted <= set(rows) <= set(audio)
        with working(elsewhere) as jobs:
            for job_id in rows:
                wait_until(lambda job_id=job_id: jobs.get(job_id).finished)  # type: ignore[misc]  # mypy takes no default
                assert jobs.transcript(job_id)[1].text == words_of(audio[job_id])
    assert unfinished, "nothing was in work when it was taken"
    assert not (tmp_path / "state" / ".backup").exists()


def test_everything_of_the_state_comes_back(state: Path, tmp_path: Path) -> None:
    restored = tmp_path / "deep" / "restored"
    read_backup(io.BytesIO(backed_up(state)), restored)
    assert KeyFile(restored).read() == KeyFile(state).read()
    assert Promotions(restored).current() == "other"
    assert (restored / "jobs" / "webhook-secret").read_bytes() == (state / "jobs" / "webhook-secret").read_bytes()
    modes = {path.stat().st_mode & 0o777 for path in restored.rglob("*") if path.is_file()}
    assert (modes, restored.stat().st_mode & 0o777) == ({0o600}, 0o700)
    with working(restored, workers=0) as jobs:
        waits, done = jobs.page("ann").jobs
        assert (waits.status, done.status) == ("queued", "completed")
        assert jobs.transcript(done.id, "ann")[1].text == words_of(b"done")
        assert len(jobs.webhooks(done.id, "ann")) == 1
        with pytest.raises(JobNotFoundError):
            jobs.get(done.id, "bob")
    assert sorted(path.name for path in restored.rglob("*.lock")) == []


def test_without_links_files_are_copied(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    read_backup(io.BytesIO(backed_up(state)), tmp_path / "restored")
    assert len(list((tmp_path / "restored" / "jobs" / "audio").iterdir())) == 1


def test_with_postgresql_all_audio_is_taken_and_no_database(state: Path, tmp_path: Path) -> None:
    out = io.BytesIO()
    names = write_backup(state, out, with_database=False).files
    assert sum(name.startswith("jobs/audio/") for name in names) == 1
    assert {name for name in names if "/audio/" not in name} == {"keys.json", "models.json", "jobs/webhook-secret"}


def test_a_damaged_database_is_told(state: Path) -> None:
    file = state / "jobs" / "jobs.sqlite"
    content = bytearray(file.read_bytes())
    content[4096 : 3 * 4096] = b"\xff" * (2 * 4096)
    file.write_bytes(content)
    with pytest.raises(BackupError, match=r"jobs\.sqlite"):
        backed_up(state)


def test_nothing_is_restored_of_what_is_not_whole(state: Path, tmp_path: Path) -> None:
    whole = backed_up(state)
    for content in (b"", b"nonsense" * 500, whole[:5000], whole[: len(whole) // 2], without_last(whole)):
        with pytest.raises(BackupError):
            read_backup(io.BytesIO(content), tmp_path / "restored")
        assert not list((tmp_path / "restored").iterdir())


def test_what_a_file_system_comes_with_is_left_alone(state: Path, tmp_path: Path) -> None:
    whole = backed_up(state)
    (tmp_path / "restored" / "lost+found").mkdir(parents=True)
    (tmp_path / "restored" / "lost+found" / "#1").touch()
    with pytest.raises(BackupError):
        read_backup(io.BytesIO(whole[: len(whole) // 2]), tmp_path / "restored")
    assert sorted(path.name for path in (tmp_path / "restored").rglob("*")) == ["#1", "lost+found"]
    read_backup(io.BytesIO(whole), tmp_path / "restored")


def test_a_server_that_was_only_started_is_not_in_the_way(state: Path, tmp_path: Path) -> None:
    """It remembers which runtime is the fastest there, which no backup holds either: another machine has another."""
    RuntimeMemory(state).remember("that processor", "torch")
    RuntimeMemory(tmp_path / "restored").remember("this processor", "onnx")
    assert "runtimes.json" not in read_backup(io.BytesIO(backed_up(state)), tmp_path / "restored").files
    assert (tmp_path / "restored" / "keys.json").is_file()
    assert RuntimeMemory(tmp_path / "restored").recall("this processor") == "onnx"


def test_a_backup_by_a_newer_version_is_refused(tmp_path: Path) -> None:
    newer = tar_of({MANIFEST: json.dumps({"format_version": 2, "shards": []}).encode()})
    with pytest.raises(BackupError, match="has format 2, and this Cepstra reads format 1: a newer one wrote it"):
        read_backup(io.BytesIO(newer), tmp_path / "restored")


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "jobs/../../escaped"])
def test_nothing_is_written_outside_of_the_state_directory(name: str, tmp_path: Path) -> None:
    manifest = json.dumps({"format_version": 1, "created_at": 0, "files": {name: 1}}).encode()
    with pytest.raises(BackupError, match="no name inside of a state directory"):
        read_backup(io.BytesIO(tar_of({MANIFEST: manifest, name: b"x"})), tmp_path / "a" / "restored")
    assert not list(tmp_path.rglob("escaped"))


def test_state_is_not_mixed_with_other_state(state: Path) -> None:
    content = backed_up(state)
    before = sorted(state.rglob("*"))
    with pytest.raises(BackupError, match="is not empty"):
        read_backup(io.BytesIO(content), state)
    assert sorted(state.rglob("*")) == before


def test_the_commands(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "cepstra.tar"
    there = CliRunner().invoke(cli.app, ["backup", str(file), "--state-dir", str(state)])
    assert (there.exit_code, file.stat().st_mode & 0o777) == (0, 0o600)
    assert "5 files, 1 of them audio" in there.stderr
    back = CliRunner().invoke(cli.app, ["restore", str(file), "--state-dir", str(tmp_path / "new")])
    assert back.exit_code == 0, back.stderr
    assert KeyFile(tmp_path / "new").read() == KeyFile(state).read()
    piped = CliRunner().invoke(cli.app, ["backup", "-", "--state-dir", str(state)])
    with tarfile.open(fileobj=io.BytesIO(piped.stdout_bytes)) as tar:
        assert tar.getnames()[0] == MANIFEST
    nowhere = CliRunner().invoke(cli.app, ["backup", str(file), "--state-dir", str(tmp_path / "nowhere")])
    assert (nowhere.exit_code, nowhere.stderr.startswith("cepstra: there is no state directory")) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cepstra.tar", "new", "state"]


def without_last(content: bytes) -> bytes:
    """A tar file that ends where a member does, but without the last."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return content[: tar.getmembers()[-1].offset]


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()
