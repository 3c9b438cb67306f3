"""Jobs from one end to the other, with SQLite and with PostgreSQL, in several "processes" that share a database."""

import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from features.errors import CorruptAudioError
from model.cancellation import CancelToken
from model.transcript import Transcript
from service.errors import (
    IdempotencyKeyReusedError,
    JobNotFinishedError,
    JobNotFoundError,
    QueueFullError,
)
from service.jobs import schema
from service.jobs.job import Job, new_job_id
from service.jobs.jobs import Jobs
from service.jobs.leases import Lease
from service.jobs.store import NewJob
from service.recogniser import Progress
from service.schemas import TranscriptionOptions
from tests.service.conftest import wait_until
from tests.service.fakes import SENTENCES, transcript_of
from tests.service.jobs.conftest import on_sqlite

OPTIONS = TranscriptionOptions(model="default")
AUDIO = b"some audio"

Make = Callable[..., Jobs]


class Ear:
    """Hears `SENTENCES` in anything, once it is let go; notes what it was given."""

    def __init__(self, *, held: bool = False) -> None:
        self.heard: list[bytes] = []
        self.go = threading.Event()
        self.error: Exception | None = None
        if not held:
            self.go.set()

    def __call__(
        self, audio: Path, options: TranscriptionOptions, progress: Progress, cancelled: CancelToken
    ) -> Transcript:
        self.heard.append(audio.read_bytes())
        progress(0.25)
        while not self.go.wait(0.01):
            progress(0.5)
            cancelled.check()
        if self.error:
            raise self.error
        return transcript_of(SENTENCES)


def submit(jobs: Jobs, audio: bytes = AUDIO, *, owner: str = "", **more: str) -> Job:
    return jobs.submit(io.BytesIO(audio), OPTIONS, owner=owner, **more)


def audio_in(folder: Path) -> list[Path]:
    return sorted((folder / "state" / "jobs" / "audio").glob("*"))


def ends(jobs: Jobs, job: Job) -> Job:
    wait_until(lambda: jobs.get(job.id).finished)
    return jobs.get(job.id)


def test_a_job_is_worked_on_and_its_audio_erased(make_jobs: Make, tmp_path: Path) -> None:
    ear = Ear(held=True)
    jobs = make_jobs(ear)
    made = submit(jobs)
    assert (made.status, made.progress, made.attempts, made.started_at_s) == ("queued", 0.0, 0, None)
    (file,) = audio_in(tmp_path)
    assert (file.name, file.read_bytes(), file.stat().st_mode & 0o777) == (made.id, AUDIO, 0o600)
    with pytest.raises(JobNotFinishedError, match="is queued"):
        jobs.transcript(made.id)
    jobs.start_working()
    wait_until(lambda: jobs.get(made.id).progress == 0.5)
    running = jobs.get(made.id)
    assert (running.status, running.attempts) == ("running", 1)
    with pytest.raises(JobNotFinishedError, match=r"running \(50% done\)"):
        jobs.transcript(made.id)
    ear.go.set()
    done = ends(jobs, made)
    assert (done.status, done.progress, done.attempts, done.error) == ("completed", 1.0, 1, None)
    assert done.created_at_s <= (done.started_at_s or 0) <= (done.finished_at_s or 0)
    assert jobs.transcript(made.id)[1] == transcript_of(SENTENCES)
    wait_until(lambda: not audio_in(tmp_path))
    assert ear.heard == [AUDIO]


def test_the_same_idempotency_key_gives_the_same_job(make_jobs: Make, tmp_path: Path) -> None:
    jobs = make_jobs(Ear())
    first = submit(jobs, idempotency_key="a")
    together: list[Job] = []
    threads = [
        threading.Thread(target=lambda: together.append(submit(jobs, b"other", idempotency_key="b"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job in together}) == 1
    assert submit(jobs, idempotency_key="a") == first
    assert submit(jobs, idempotency_key="a", owner="somebody else").id != first.id
    assert submit(jobs).id != first.id
    with pytest.raises(IdempotencyKeyReusedError, match=first.id):
        submit(jobs, b"other", idempotency_key="a")
    with pytest.raises(IdempotencyKeyReusedError, match=first.id):
        _with_format(jobs, "a")
    assert len(audio_in(tmp_path)) == 4


def _with_format(jobs: Jobs, key: str) -> Job:
    options = TranscriptionOptions(model="default", response_format="srt")
    return jobs.submit(io.BytesIO(AUDIO), options, idempotency_key=key)


def test_lists_go_page_by_page_and_owners_see_their_own(make_jobs: Make) -> None:
    jobs = make_jobs(Ear())
    assert jobs.page("ann").jobs == ()
    ids = [submit(jobs, owner="ann").id for _ in range(5)]
    other = submit(jobs, owner="bob")
    assert sorted(ids) == ids or len({name[:16] for name in ids}) < 5, "ids sort by their millisecond"
    ids.sort()
    first = jobs.page("ann", limit=2)
    assert ([job.id for job in first.jobs], first.has_more) == (ids[:2:-1], True)
    jobs.remove(first.jobs[-1].id, "ann")
    jobs.remove(first.jobs[-1].id, "ann")  # erased: the page after it can be had all the same
    rest = jobs.page("ann", limit=3, after=first.jobs[-1].id)
    assert ([job.id for job in rest.jobs], rest.has_more) == (ids[2::-1], False)
    oldest = jobs.page("ann", limit=2, after=ids[0], newest_first=False)
    assert ([job.id for job in oldest.jobs], oldest.has_more) == (ids[1:3], True)
    for forbidden in (jobs.get, jobs.transcript, jobs.remove, jobs.webhooks):
        with pytest.raises(JobNotFoundError):
            forbidden(other.id, "ann")
    with pytest.raises(JobNotFoundError):
        jobs.get("job_\0", "ann")


def test_a_queued_job_is_cancelled_and_a_finished_one_erased(make_jobs: Make, tmp_path: Path) -> None:
    jobs = make_jobs(Ear())
    made = submit(jobs)
    cancelled = jobs.remove(made.id)
    assert cancelled and (cancelled.status, cancelled.attempts) == ("cancelled", 0)
    assert cancelled.finished_at_s
    assert not audio_in(tmp_path)
    with pytest.raises(JobNotFinishedError, match="was cancelled"):
        jobs.transcript(made.id)
    assert jobs.remove(made.id) is None
    with pytest.raises(JobNotFoundError):
        jobs.get(made.id)
    jobs.start_working()
    done = ends(jobs, submit(jobs))
    assert jobs.remove(done.id) is None
    with pytest.raises(JobNotFoundError):
        jobs.transcript(done.id)


@on_sqlite
def test_what_is_erased_cannot_be_found_in_any_file(make_jobs: Make, tmp_path: Path) -> None:
    """Neither by name nor by looking at the bytes: what a database frees it does not overwrite by itself."""
    secrets = [SENTENCES[0].encode(), b"Birket Foster", b"of-the-client"]

    def left() -> set[bytes]:
        contents = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
        return {secret for secret in secrets for content in contents if secret in content}

    options = TranscriptionOptions(model="default", keywords=["Birket Foster"])
    jobs = make_jobs(Ear(), keep_jobs_s=0)
    removed = jobs.submit(io.BytesIO(AUDIO), options, idempotency_key="of-the-client")
    assert left() == set(secrets[1:])
    jobs.start_working()
    ends(jobs, removed)
    wait_until(lambda: not audio_in(tmp_path))
    assert left() == set(secrets)
    assert jobs.remove(removed.id) is None
    assert left() == set()
    expired = ends(jobs, jobs.submit(io.BytesIO(AUDIO), options, idempotency_key="of-the-client"))
    assert left() == set(secrets)
    jobs._retention.sweep()
    assert left() == set()
    with pytest.raises(JobNotFoundError):
        jobs.get(expired.id)


def test_a_job_that_is_erased_while_it_is_sent_again_is_made_anew(make_jobs: Make) -> None:
    jobs = make_jobs(Ear())
    first = submit(jobs, idempotency_key="a")
    new = NewJob(new_job_id(), "", OPTIONS, "hash", "a")
    jobs.remove(first.id)
    jobs.remove(first.id)
    assert jobs._store._earlier(new).id == new.id  # the unique index had found it, the look after it has not


@pytest.mark.parametrize("same_process", [True, False])
def test_a_running_job_is_cancelled(make_jobs: Make, tmp_path: Path, same_process: bool) -> None:
    ear = Ear(held=True)
    worker = make_jobs(ear, job_lease_s=0.5)
    worker.start_working()
    other = worker if same_process else make_jobs(Ear())
    made = submit(worker)
    wait_until(lambda: bool(ear.heard))
    cancelled = other.remove(made.id)
    assert cancelled and cancelled.status == "cancelled"
    after = submit(worker)  # the only slot is free again although the ear was never let go
    wait_until(lambda: len(ear.heard) == 2)
    ear.go.set()
    assert ends(worker, after).status == "completed"
    assert worker.get(made.id).status == "cancelled"


@on_sqlite
def test_what_the_audio_is_to_blame_for_fails_at_once(make_jobs: Make, tmp_path: Path) -> None:
    ear = Ear()
    ear.error = CorruptAudioError("The audio breaks off.")
    jobs = make_jobs(ear)
    jobs.start_working()
    failed = ends(jobs, submit(jobs))
    assert (failed.status, failed.attempts) == ("failed", 1)
    assert failed.error == {
        "message": "The audio breaks off.",
        "type": "invalid_request_error",
        "param": "file",
        "code": "corrupt_audio",
    }
    with pytest.raises(JobNotFinishedError, match="has failed, so it has no result: The audio breaks off"):
        jobs.transcript(failed.id)
    wait_until(lambda: not audio_in(tmp_path))


def test_what_we_are_to_blame_for_is_tried_again(make_jobs: Make) -> None:
    ear = Ear()
    ear.error = ValueError("a secret path")
    jobs = make_jobs(ear, job_attempts=1)
    jobs.start_working()
    failed = ends(jobs, submit(jobs))
    assert failed.error and failed.error["code"] == "internal_error"
    assert "secret" not in failed.error["message"]
    jobs.stop()  # or its worker might be the first to take the next job
    patient = make_jobs(Ear(held=True))
    again = submit(patient)
    lease = patient._worker._queue.claim()
    assert lease and not patient._worker._queue.is_last(lease)
    patient._worker._queue.retry(lease, 30.0)
    waiting = patient.get(again.id)
    assert (waiting.status, waiting.attempts) == ("queued", 1)
    assert patient._worker._queue.claim() is None, "not before its pause is over"


def test_a_dead_worker_s_job_is_taken_over_and_its_result_comes_too_late(make_jobs: Make) -> None:
    paused = make_jobs(Ear())
    job = submit(paused)
    late = paused._worker._queue
    late.lease_s = 0.0  # never renewed, as if its process were stopped
    lease = late.claim()
    assert lease
    living = make_jobs(Ear())
    living.start_working()
    done = ends(living, job)
    assert (done.status, done.attempts) == ("completed", 2)
    assert not late.complete(lease, transcript_of(["something else"]))
    assert not late.hand_back(lease)
    assert not late.fail(lease, {})
    assert late.renew({lease: 0.9}) == {lease}
    assert living.get(job.id) == done
    assert living.transcript(job.id)[1] == transcript_of(SENTENCES)


@on_sqlite
def test_what_was_taken_in_before_the_clock_was_set_back_does_not_wait_for_it(make_jobs: Make) -> None:
    jobs = make_jobs(Ear())
    told = submit(jobs, webhook_url="https://example.com")
    jobs.remove(told.id)
    again, fresh = submit(jobs), submit(jobs, b"fresh")
    lease = jobs._worker._queue.claim()
    assert lease and jobs._worker._queue.retry(lease, 30.0)
    set_back_s = time.time() - 3600.0
    jobs._database.now_s = lambda connection: set_back_s  # type: ignore[method-assign]  # another clock
    leases = [jobs._worker._queue.claim() for _ in range(3)]
    assert [lease and lease.job_id for lease in leases] == [again.id, fresh.id, None]
    attempt = jobs._outbox.claim()
    assert attempt and attempt.tries == 1
    assert jobs._outbox.claim() is None, "one that is on its way is not sent twice"


def test_a_job_that_nobody_survives_fails(make_jobs: Make) -> None:
    jobs = make_jobs(Ear(), job_attempts=3)
    poison = submit(jobs)
    queue = jobs._worker._queue
    queue.lease_s = -1.0
    for attempt in (1, 2, 3):
        lease = queue.claim()
        assert lease and lease.attempt == attempt
    healthy = submit(jobs, b"healthy")
    lease = queue.claim()
    assert lease and lease.job_id == healthy.id
    failed = jobs.get(poison.id)
    assert (failed.status, failed.attempts) == ("failed", 3)
    assert failed.error and failed.error["code"] == "too_many_attempts"


def test_owners_take_turns(make_jobs: Make) -> None:
    """By how many of their jobs are in work, then by who was served last; every owner's own in order."""
    jobs = make_jobs(Ear())
    ids = {submit(jobs, b"%d" % number, owner=name).id: f"{name}{number}" for number, name in enumerate("aaaabbc")}
    queue = jobs._worker._queue
    queue.lease_s = 3600.0
    taken = []

    def take() -> Lease:
        lease = queue.claim()
        assert lease
        taken.append(ids[lease.job_id])
        return lease

    for _ in range(4):  # as one worker does, one job after the other
        assert queue.complete(take(), transcript_of(SENTENCES))
    assert taken == ["a0", "b4", "c6", "a1"]
    first = take()
    take()
    assert taken[4:] == ["b5", "a2"]
    assert queue.hand_back(first)
    take()
    assert taken[6:] == ["b5"], "a has one in work, b none"
    take()
    assert taken[7:] == ["a3"]
    assert queue.claim() is None


def test_a_lease_is_renewed_as_long_as_the_work_goes_on(make_jobs: Make) -> None:
    ear = Ear(held=True)
    jobs = make_jobs(ear, job_lease_s=4.0)
    job = submit(jobs)
    jobs.start_working()

    def until_s() -> float:
        with jobs._database.read() as connection:
            return connection.execute(select(schema.jobs.c.lease_until)).scalar_one() or 0.0

    wait_until(lambda: bool(ear.heard))
    first_s = until_s()
    wait_until(lambda: until_s() > first_s)
    ear.go.set()
    assert ends(jobs, job).attempts == 1


def test_a_stopped_worker_finishes_or_hands_back(make_jobs: Make) -> None:
    quick = Ear(held=True)
    finishing = make_jobs(quick, shutdown_s=60)
    job = submit(finishing)
    finishing.start_working()
    wait_until(lambda: bool(quick.heard))
    finishing.drain()
    waiting = submit(finishing)
    threading.Timer(0.3, quick.go.set).start()
    finishing._worker.stop(60)
    assert finishing.get(job.id).status == "completed"
    assert finishing.get(waiting.id).status == "queued"
    slow = Ear(held=True)
    stopping = make_jobs(slow, shutdown_s=0)
    stopping.start_working()
    wait_until(lambda: bool(slow.heard))
    stopping._worker.stop(0.0)
    back = finishing.get(waiting.id)
    assert (back.status, back.attempts, back.progress) == ("queued", 0, 0.0), back


def test_no_more_jobs_than_may_be(make_jobs: Make) -> None:
    jobs = make_jobs(Ear(), max_jobs=2)
    jobs.check_room()
    submit(jobs)
    jobs.check_room()
    last = submit(jobs)
    with pytest.raises(QueueFullError, match="CEPSTRA_MAX_JOBS=2"):
        jobs.check_room()
    with pytest.raises(QueueFullError, match="CEPSTRA_MAX_JOBS=2"):
        submit(jobs)  # whose upload had begun while there was room
    jobs.remove(last.id)
    jobs.check_room()


def test_of_many_that_are_sent_at_once_no_more_are_taken_than_may_be(make_jobs: Make, tmp_path: Path) -> None:
    jobs = make_jobs(Ear(), max_jobs=3)
    submit(jobs)
    taken: list[Job] = []
    refused: list[QueueFullError] = []

    def send() -> None:
        try:
            taken.append(submit(jobs))
        except QueueFullError as error:
            refused.append(error)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    unfinished = jobs.count_by_status()["queued"]
    assert (len(taken), len(refused)) == (unfinished - 1, 9 - unfinished)
    assert len(audio_in(tmp_path)) == unfinished
    assert unfinished == 3 or jobs._database._file is None  # PostgreSQL's do not wait for each other


def test_a_request_that_was_taken_in_is_never_refused_for_want_of_room(make_jobs: Make) -> None:
    jobs = make_jobs(Ear(), max_jobs=1)
    first = submit(jobs, owner="ann", idempotency_key="a")
    jobs.check_room("ann", "a")
    assert submit(jobs, owner="ann", idempotency_key="a").id == first.id
    with pytest.raises(IdempotencyKeyReusedError):
        submit(jobs, b"other", owner="ann", idempotency_key="a")
    for owner, key in (("ann", "b"), ("ann", None), ("bob", "a")):
        with pytest.raises(QueueFullError):
            jobs.check_room(owner, key)


def test_the_age_of_the_queue_is_that_of_its_oldest_job(make_jobs: Make) -> None:
    jobs = make_jobs(Ear())
    assert jobs.queue_age_s() == 0
    first = submit(jobs)
    time.sleep(0.05)
    second = submit(jobs)
    assert 0.05 <= second.created_at_s - first.created_at_s <= jobs.queue_age_s()
    jobs.remove(first.id)
    assert jobs.queue_age_s() <= time.time() - second.created_at_s
    jobs.remove(second.id)
    assert jobs.queue_age_s() == 0


def test_what_is_over_is_erased(make_jobs: Make, tmp_path: Path) -> None:
    jobs = make_jobs(Ear(), keep_jobs_s=3600, keep_audio_s=3600)
    jobs.start_working()
    kept = ends(jobs, submit(jobs))
    jobs._retention.sweep()
    assert [path.name for path in audio_in(tmp_path)] == [kept.id]
    without_audio = make_jobs(Ear(), keep_jobs_s=3600, keep_audio_s=0)
    without_audio._retention.sweep()
    assert not audio_in(tmp_path)
    assert jobs.transcript(kept.id)
    waiting = submit(without_audio)
    jobs.drain()
    forgetful = make_jobs(Ear(), keep_jobs_s=0)
    forgetful._retention.sweep()
    with pytest.raises(JobNotFoundError):
        jobs.get(kept.id)
    assert jobs.get(waiting.id), "an unfinished job is never erased"


def test_any_number_of_files_is_looked_up(make_jobs: Make) -> None:
    """More than a statement has room for."""
    jobs = make_jobs(Ear())
    jobs.start_working()
    names = [f"job_{number:032x}" for number in range(300_000)]
    done = ends(jobs, submit(jobs))
    jobs.drain()
    names[150_000:150_000] = [submit(jobs).id, done.id]
    assert jobs._store.known(names) == set(names[150_000:150_002])
    assert jobs._store.ended_before(names, 0.0) == {done.id}


@on_sqlite
def test_files_of_no_job_are_erased_once_they_are_old(make_jobs: Make, tmp_path: Path) -> None:
    jobs = make_jobs(Ear())
    mine = submit(jobs)
    folder = audio_in(tmp_path)[0].parent
    young, old, stray = folder / f"job_{'1' * 32}", folder / f"job_{'2' * 32}", folder / "notes.txt"
    for path in (young, old, stray, folder / mine.id):
        path.write_bytes(AUDIO)
    for path in (old, stray, folder / mine.id):
        os.utime(path, (0, 0))
    jobs._retention.sweep()
    assert set(audio_in(tmp_path)) == {young, stray, folder / mine.id}


def test_nothing_is_written_before_the_first_job(make_jobs: Make, tmp_path: Path) -> None:
    jobs = make_jobs(Ear())
    jobs.start()
    jobs.start_working()
    assert jobs.page().jobs == ()
    jobs.check_room()
    with pytest.raises(JobNotFoundError):
        jobs.get(f"job_{'0' * 32}")
    assert not (tmp_path / "state").exists()
