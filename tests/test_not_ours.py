"""Nothing that is only lent stands in the repository: no recording of the speech folder, and none of its texts."""

import csv
import hashlib
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TELLING_WORDS = 12  # shorter transcripts may be anybody's words


def test_no_transcript_of_the_speech_folder_is_committed(speech_data: Path) -> None:
    transcripts = telling_transcripts(speech_data)
    assert len(transcripts) > 1000
    known = by_beginning(transcripts)
    texts = {str(path.relative_to(ROOT)): held_in(path.read_bytes(), known) for path in tracked()}
    assert not {name: held for name, held in texts.items() if held}


def test_no_recording_of_the_speech_folder_is_committed(speech_data: Path) -> None:
    by_size: dict[int, list[Path]] = {}
    for path in speech_data.rglob("*"):
        if path.is_file():
            by_size.setdefault(path.stat().st_size, []).append(path)
    same = {
        str(ours.relative_to(ROOT))
        for ours in tracked()
        for theirs in by_size.get(ours.stat().st_size, [])
        if ours.stat().st_size and digest(ours) == digest(theirs)
    }
    assert not same


def test_a_manifest_with_their_transcripts_is_found(speech_data: Path) -> None:
    transcripts = telling_transcripts(speech_data)
    one = min(transcripts)
    assert held_in(f"1\ta.mp3\t{one.upper()}\n".encode(), by_beginning(transcripts)) == [one]


def telling_transcripts(speech_data: Path) -> set[str]:
    """The normalised transcripts of every manifest there, of 12 words or more."""
    found = set()
    for manifest in speech_data.glob("*/manifest.tsv"):
        with open(manifest, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        found |= {" ".join(words_of(row.get("transcript") or "")) for row in rows}
    return {transcript for transcript in found if len(transcript.split()) >= TELLING_WORDS}


def words_of(text: str) -> list[str]:
    """Lower-case words, without punctuation."""
    return re.sub(r"[^a-z' ]+", " ", text.lower()).split()


def by_beginning(transcripts: set[str]) -> dict[str, list[str]]:
    """Transcripts by their first words."""
    found: dict[str, list[str]] = {}
    for transcript in transcripts:
        found.setdefault(" ".join(transcript.split()[:TELLING_WORDS]), []).append(transcript)
    return found


def held_in(content: bytes, transcripts: dict[str, list[str]]) -> list[str]:
    """Those transcripts that a file has as consecutive words, whatever its letters' case and punctuation."""
    if b"\0" in content:
        return []  # not a text
    words = words_of(content.decode("utf-8", errors="replace"))
    return [
        transcript
        for start in range(len(words) - TELLING_WORDS + 1)
        for transcript in transcripts.get(" ".join(words[start : start + TELLING_WORDS]), [])
        if words[start : start + len(transcript.split())] == transcript.split()
    ]


def tracked() -> list[Path]:
    """The files that git knows and that are there; without git all but those that .gitignore is about."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
        return [path for name in os.fsdecode(listed).split("\0") if name and (path := ROOT / name).is_file()]
    made = {ROOT / name for name in ("runs", "build", "dist", "data", "shared", "secrets")}
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if Path(folder, name) not in made and name != "__pycache__" and not name.startswith(".")
        ]
        found += [Path(folder, name) for name in files]
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
