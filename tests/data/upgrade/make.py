"""Write what a version of Cepstra leaves on disk, for tests/service/jobs/test_upgrade.py; README.md says how it is run.

Runs with the code of the version that is first on PYTHONPATH, on the clips of this repository.
"""

import inspect
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

CLIPS = Path(__file__).resolve().parents[2] / "clips"
WEBHOOK = "https://receiver.invalid/cepstra"  # a name that never exists, so its message stays to be sent


def main(out: Path, database_url: str | None) -> None:
    """`out/bundle`, `out/state` and `out/expected.json`; jobs in PostgreSQL where its URL is given."""
    from features.audio import decode_audio
    from model.checkpoint import save_bundle
    from model.transcriber import Transcriber
    from service.jobs.jobs import Jobs
    from service.keys import KeyFile
    from service.schemas import TranscriptionOptions
    from service.settings import Settings
    from tests.model.conftest import make_bundle

    below_the_fixture: Any = inspect.unwrap(make_bundle)
    save_bundle(below_the_fixture()(0), out / "bundle")
    transcriber = Transcriber.from_bundle(out / "bundle", threads=1, runtime="torch")
    clip, other = ((CLIPS / name).read_bytes() for name in ("letter.flac", "train.flac"))

    def recognise(audio: Path, options: Any, progress: Any, cancelled: Any) -> Any:
        return transcriber.transcribe(audio.read_bytes())

    state = out / "state"
    secret = KeyFile(state).create("ann", ("transcribe", "jobs"))
    try:
        from service.promotions import Promotions  # the first versions knew one model

        Promotions(state).promote("bundle")
    except ImportError:
        pass

    def opened(workers: int) -> Jobs:
        return Jobs(
            Settings(state_dir=state, database_url=database_url, background_workers=workers, shutdown_s=0), recognise
        )

    options = TranscriptionOptions(model="default", response_format="srt")
    jobs = opened(1)
    jobs.start_working()  # and not `start`, which would try to send
    done = jobs.submit(io.BytesIO(clip), options, owner="ann", idempotency_key="first", webhook_url=WEBHOOK)
    failed = jobs.submit(io.BytesIO(b"no audio"), options, owner="ann")
    while not all(jobs.get(job.id, "ann").finished for job in (done, failed)):
        time.sleep(0.05)
    jobs.stop()
    jobs = opened(0)
    cancelled = jobs.submit(io.BytesIO(other), options, owner="ann")
    jobs.remove(cancelled.id, "ann")
    queued = jobs.submit(io.BytesIO(other), options, owner="ann")
    text = jobs.transcript(done.id, "ann")[1].text
    objects = [job.as_object() for job in jobs.page("ann", limit=10, newest_first=False).jobs]
    jobs.stop()
    assert text and [job["status"] for job in objects] == ["completed", "failed", "cancelled", "queued"], objects
    assert objects[-1]["id"] == queued.id
    log_probs = transcriber.log_probs(decode_audio(clip))[:20]
    expected = {
        "key": secret,
        "idempotency_key": "first",
        "text": text,
        "jobs": objects,
        "log_probs": [[round(value, 4) for value in row] for row in log_probs.tolist()],
    }
    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    # A checkout that is installed here must not lend a module that the version lacks.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
