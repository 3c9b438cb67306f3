"""What earlier versions left on disk is opened by this one, and what a newer one left is refused.

`tests/data/upgrade` has a folder for each version and database; its README says how they were made.
"""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from features.audio import decode_audio
from model.cancellation import CancelToken
from model.checkpoint import load_bundle
from model.errors import BundleFormatError
from model.transcriber import Transcriber
from model.transcript import Transcript
from service.errors import IdempotencyKeyReusedError, JobsUnavailableError, KeyFileError, PromotionError
from service.jobs.jobs import Jobs
from service.keys import KeyFile, hash_of
from service.promotions import Promotions
from service.recogniser import Progress
from service.schemas import TranscriptionOptions
from service.settings import Settings
from tests.service.conftest import wait_until

STORED = sorted(path.parent for path in Path(__file__).resolve().parents[2].glob("data/upgrade/*/*/expected.json"))

each_stored = pytest.mark.parametrize("stored", STORED, ids=lambda path: f"{path.parent.name}-{path.name}")


def expected_of(stored: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stored / "expected.json").read_text())
    return found


@pytest.fixture
def state(stored: Path, tmp_path: Path) -> Path:
    """A copy: opening brings it forward."""
    shutil.copytree(stored / "state", tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def url(stored: Path, request: pytest.FixtureRequest) -> str | None:
    """A database of PostgreSQL's that was made of the stored dump; None where jobs are in a file."""
    if not (stored / "jobs.sql").exists():
        return None
    found: str = request.getfixturevalue("postgresql")
    engine = create_engine(found.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.exec_driver_sql((stored / "jobs.sql").read_text().replace("%", "%%"))
    engine.dispose()
    return found


@contextmanager
def opened(state: Path, url: str | None, bundle: Path) -> Iterator[Jobs]:
    transcriber = Transcriber.from_bundle(bundle, threads=1, runtime="torch")

    def recognise(audio: Path, options: TranscriptionOptions, progress: Progress, cancelled: CancelToken) -> Transcript:
        return transcriber.transcribe(audio.read_bytes())

    jobs = Jobs(Settings(state_dir=state, database_url=url, shutdown_s=0), recognise)
    try:
        yield jobs
    finally:
        jobs.stop()


def test_there_are_stored_versions_in_both_kinds_of_database() -> None:
    assert {path.name for path in STORED} == {"sqlite", "postgresql"}
    assert len({path.parent for path in STORED}) >= 2


@each_stored
def test_jobs_of_an_earlier_version_go_on(stored: Path, state: Path, url: str | None) -> None:
    expected = expected_of(stored)
    done, failed, cancelled, queued = expected["jobs"]
    with opened(state, url, stored / "bundle") as jobs:
        assert [job.as_object() for job in jobs.page("ann", newest_first=False).jobs] == expected["jobs"]
        job, transcript = jobs.transcript(done["id"], "ann")
        assert (transcript.text, job.options.response_format) == (expected["text"], "srt")
        assert [message["status"] for message in jobs.webhooks(done["id"], "ann")] == ["pending"]
        assert failed["error"]["code"] == jobs.get(failed["id"], "ann").as_object()["error"]["code"]
        with pytest.raises(IdempotencyKeyReusedError):
            jobs.submit(
                io.BytesIO(b"other"),
                TranscriptionOptions(model="default"),
                owner="ann",
                idempotency_key=expected["idempotency_key"],
            )
        jobs.start_working()
        wait_until(lambda: jobs.get(queued["id"], "ann").finished)
        assert jobs.get(queued["id"], "ann").status == "completed"
        assert jobs.transcript(queued["id"], "ann")[1].text
        assert jobs.get(cancelled["id"], "ann").status == "cancelled"
        jobs.remove(done["id"], "ann")


@each_stored
def test_keys_of_an_earlier_version_open(stored: Path) -> None:
    (key,) = KeyFile(stored / "state").read() or ()
    assert key.admits(hash_of(expected_of(stored)["key"]), now_s=key.created_at)
    promoted = (stored / "state" / "models.json").exists()
    assert Promotions(stored / "state").current() == ("bundle" if promoted else None)


@each_stored
def test_a_bundle_of_an_earlier_version_hears_the_same(stored: Path, clips_folder: Path) -> None:
    transcriber = Transcriber.from_bundle(stored / "bundle", threads=1, runtime="torch")
    log_probs = transcriber.log_probs(decode_audio((clips_folder / "letter.flac").read_bytes()))
    expected = expected_of(stored)["log_probs"]
    for heard, before in zip(log_probs.tolist(), expected, strict=False):
        assert heard == pytest.approx(before, abs=2e-3)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A copy of the newest stored state and bundle, in which each file says that it is of version 99."""
    shutil.copytree(STORED[-1].parent / "sqlite", tmp_path / "newer")
    for name in ("bundle/config.json", "state/keys.json", "state/models.json"):
        path = tmp_path / "newer" / name
        if path.exists():
            path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99, "shards": 3}))
    return tmp_path / "newer"


def test_a_bundle_of_a_newer_version_is_refused(newer: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"format 99; this version of Cepstra reads formats 1 to 4"):
        load_bundle(newer / "bundle")


def test_keys_of_a_newer_version_are_refused(newer: Path) -> None:
    with pytest.raises(KeyFileError, match=r"keys\.json has format 99.* reads formats up to 2: a newer one wrote it"):
        KeyFile(newer / "state").read()
    Promotions(newer / "state")._path.write_text('{"format_version": 99}')
    with pytest.raises(PromotionError, match=r"models\.json has format 99.* reads format 1: a newer one wrote it"):
        Promotions(newer / "state").current()


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(newer: Path) -> None:
    file = newer / "state" / "jobs" / "jobs.sqlite"
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs_version SET version = 99"))
    engine.dispose()
    before = file.read_bytes()
    with (
        opened(newer / "state", None, STORED[-1] / "bundle") as jobs,
        pytest.raises(JobsUnavailableError, match=r"version 99, .*made by a newer one"),
    ):
        jobs.page("ann")
    assert file.read_bytes() == before
