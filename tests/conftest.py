"""Speech for the tests: recorded speech, which lies beside the checkout, and the synthetic clips of this repository."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]

# No example has a time limit: on a busy machine the quickest takes a second now and then.
hypothesis.settings.register_profile("unhurried", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("unhurried")


# Files that take a minute and more. Processes that share the tests take them file by file, these first: whoever took
# one last would be left alone with it while the others are done.
LONGEST = ("test_trainer.py", "test_commands.py", "test_long_audio.py", "test_quiet_speech.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@dataclass(frozen=True)
class SpokenClip:
    """One row of a manifest.

    Attributes:
        id: name of the utterance.
        path: its audio file, absolute.
        duration_s: length by the manifest, seconds.
        transcript: what is said, upper case.
        subset: its `subset_or_note`; empty where the manifest has no such column.
    """

    id: str
    path: Path
    duration_s: float
    transcript: str
    subset: str


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Models as small as the tests' lose more time to starting threads than they gain: sevenfold on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the keys and jobs of whoever runs it, nor leaves some there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CEPSTRA_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """The folder of recorded speech: CEPSTRA_DATA, or `../shared/data` beside the checkout.

    Where there is none the test is skipped; in CI (CI=true) it fails, because there nobody reads what was skipped.
    """
    named = os.environ.get("CEPSTRA_DATA")
    folder = Path(named).resolve() if named else REPOSITORY.parent / "shared" / "data"
    if not (folder / "librispeech" / "manifest.tsv").is_file():
        origin = "named by CEPSTRA_DATA" if named else "beside the checkout; CEPSTRA_DATA can name another"
        message = f"no recorded speech: {folder}/librispeech/manifest.tsv is missing ({origin})"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def dev_clean(speech_data: Path) -> list[SpokenClip]:
    """The dev set: every dev-clean utterance of the LibriSpeech manifest, in its order."""
    rows = read_manifest(speech_data / "librispeech" / "manifest.tsv")
    return [row for row in rows if row.subset == "dev-clean"]


@pytest.fixture(scope="session")
def clips_folder() -> Path:
    """`tests/clips`: synthetic speech that is always there; `variants/` in it holds one clip in many containers."""
    return REPOSITORY / "tests" / "clips"


@pytest.fixture(scope="session")
def synthetic_clips(clips_folder: Path) -> list[SpokenClip]:
    """The synthetic sentences, in the order of `clips.tsv`."""
    return read_manifest(clips_folder / "clips.tsv")


def read_manifest(manifest: Path) -> list[SpokenClip]:
    """All rows of a manifest; fields are never quoted."""
    with open(manifest, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        SpokenClip(
            row["id"],
            manifest.parent / row["path"],
            float(row["duration_s"]),
            row["transcript"],
            row.get("subset_or_note", ""),
        )
        for row in rows
    ]
