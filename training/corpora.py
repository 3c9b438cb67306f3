"""Corpora: from a LibriSpeech tree or a manifest to a list of utterances, and back to a manifest.

Three sources are read: a tree laid out as LibriSpeech (`<subset>/<speaker>/<chapter>/<id>.flac` beside
`<speaker>-<chapter>.trans.txt`); a TSV with a header line (`path` and `transcript`, optionally `id`, `speaker`,
`duration_s`); NeMo-style JSON lines (`audio_filepath`, `text`, optionally `duration`). Paths are relative to the file.
"""

import csv
import hashlib
import json
import logging
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from features.audio import Waveform, decode_audio
from features.errors import AudioError
from training.errors import CorpusError

MAX_REJECTED_SHARE = 0.01  # a corpus of which more cannot be used is refused
LONGEST_STEM = 100  # characters of an id that become a file's name
LONGEST_FIELD = 2**24  # characters of a TSV's field: more than anybody says in a week; Python's own limit are two hours
_BEYOND = "\t"  # no column can have this name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it.

    Attributes:
        id: unique within its corpus.
        path: the audio file.
        transcript: as the corpus has it; `normalize_transcript` makes the training text of it.
        speaker: who speaks, empty where it is not known.
        duration_s: seconds of audio; 0 where it is not known yet.
    """

    id: str
    path: Path
    transcript: str
    speaker: str = ""
    duration_s: float = 0.0


def read_corpus(
    source: str | os.PathLike[str], *, where: dict[str, str] | None = None, transcribed: bool = True
) -> list[Utterance]:
    """Utterances of a LibriSpeech tree (a directory), a TSV manifest or a JSON-lines manifest, in file order.

    Args:
        source: directory or manifest file.
        where: keep only the manifest's lines whose column has that value; a tree has `subset` and `speaker`.
        transcribed: leave out what has no transcript. False is for noise and rooms: a TSV then needs only `path`, a
            line of JSON only `audio_filepath`.

    Raises:
        CorpusError: nothing is there, a line cannot be read, or there is no transcript at all.
    """
    path = Path(source)
    try:
        if path.is_dir():
            utterances = list(_read_librispeech(path, where or {}))
        elif path.is_file():
            reader = _read_json_lines if path.suffix in (".json", ".jsonl", ".ndjson") else _read_tsv
            utterances = list(reader(path, where or {}, transcribed))
        else:
            raise CorpusError(f"no corpus at {path}: neither a directory nor a manifest file")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8: it has a byte {error.object[error.start]:#04x}") from error
    if not utterances:
        raise CorpusError(f"{path} has no utterances" + (f" with {where}" if where else ""))
    if not transcribed:
        return utterances
    with_text = [utterance for utterance in utterances if utterance.transcript.strip()]
    if not with_text:
        raise CorpusError(f"none of the {len(utterances)} utterances of {path} has a transcript")
    if len(with_text) < len(utterances):
        log.warning("%s: %d utterances without a transcript left out", path, len(utterances) - len(with_text))
    return with_text


def write_manifest(utterances: Iterable[Utterance], path: str | os.PathLike[str]) -> None:
    """Write a TSV manifest atomically, with audio paths relative to it where that is possible.

    Raises:
        CorpusError: a path or a text that the file cannot hold; what was there before is kept.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.tmp")
    base = target.parent.resolve()
    try:
        with scratch.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
            writer.writerow(["id", "path", "duration_s", "transcript", "speaker"])
            for utterance in utterances:
                audio = os.path.relpath(utterance.path.resolve(), base)
                row = [
                    utterance.id,
                    audio,
                    f"{utterance.duration_s:.3f}",
                    utterance.transcript,
                    utterance.speaker,
                ]
                try:
                    "\t".join(row).encode()
                    writer.writerow([" ".join(value.split()) if value != audio else value for value in row])
                except (csv.Error, UnicodeEncodeError) as error:
                    raise CorpusError(
                        f"{target} cannot hold {str(utterance.path)!r}: its path has a tab or a line break, or path or "
                        "transcript are not UTF-8; rename the file"
                    ) from error
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


def file_stem(utterance_id: str) -> str:
    """A file's name without its ending, another one for every id: the id itself where it can be that."""
    plain = re.sub(r"[^\w.-]+", "-", utterance_id, flags=re.ASCII).strip(".-")[:LONGEST_STEM]
    return plain if plain and plain == utterance_id else f"{plain or 'utterance'}-{fingerprint(utterance_id)}"


def fingerprint(*made_of: object) -> str:
    """Eight hexadecimal digits for a file's name, others where any of the values is another."""
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:8]


def measure(utterances: Sequence[Utterance], progress: Callable[[int, int], None] | None = None) -> list[Utterance]:
    """Decode every file once and return the utterances with their exact durations.

    Files that cannot be read are named, left out and counted; see `reject`. `progress` is called with the files done
    and the files in all.
    """
    measured, bad = [], []
    for done, utterance in enumerate(utterances, 1):
        try:
            measured.append(replace(utterance, duration_s=decode_audio(utterance.path).duration_s))
        except (AudioError, OSError) as error:
            bad.append(f"{utterance.path}: {error}")
        if progress:
            progress(done, len(utterances))
    reject("audio that cannot be read", bad, len(utterances))
    return measured


def decode_named(path: Path) -> Waveform:
    """A corpus's file, decoded.

    Raises:
        CorpusError: it cannot be read; the message names it, which the decoder's own does not.
    """
    try:
        return decode_audio(path)
    except (AudioError, OSError) as error:
        raise CorpusError(f"{path}: {error}") from error


def reject(what: str, named: Sequence[str], total: int, *, most_share: float = MAX_REJECTED_SHARE) -> None:
    """Say which utterances are left out and why; refuse the corpus when they are too many.

    Raises:
        CorpusError: more than `most_share` of `total` are rejected.
    """
    for name in named:
        log.warning("left out, %s: %s", what, name)
    if len(named) > most_share * total:
        raise CorpusError(
            f"{len(named)} of {total} utterances have {what}; at most {most_share:.0%} are tolerated. First: {named[0]}"
        )


_SPACES = str.maketrans(dict.fromkeys("-‐‑‒–—―/_\t\n\r\u00a0", " "))
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))
_DROPPED = str.maketrans(dict.fromkeys('.,;:!?"“”„«»()[]{}…*'))


def normalize_transcript(text: str) -> str:
    """Training and scoring text: lower case, accents off, punctuation dropped, dashes to spaces, single spaces.

    Digits and symbols stay as they are: how they are spoken is not known here, and the tokenizer names them.
    """
    text = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = text.translate(_APOSTROPHES).translate(_SPACES).translate(_DROPPED)
    words = (word.strip("'") if word.strip("'") else "" for word in text.lower().split())
    return " ".join(word for word in words if word)


def _read_librispeech(root: Path, where: dict[str, str]) -> Iterator[Utterance]:
    if unknown := set(where) - {"subset", "speaker"}:
        raise CorpusError(f"{root} is a tree, which has subset and speaker, and no {', '.join(sorted(unknown))}")
    for listing in sorted(root.rglob("*.trans.txt")):
        speaker = listing.parent.parent
        has = {"subset": speaker.parent.name, "speaker": speaker.name}
        if any(has[column] != value for column, value in where.items()):
            continue
        for line in listing.read_text(encoding="utf-8").splitlines():
            utterance_id, _, transcript = line.partition(" ")
            if utterance_id:
                yield Utterance(
                    utterance_id,
                    listing.parent / f"{utterance_id}.flac",
                    transcript,
                    speaker.name,
                )


def _read_tsv(path: Path, where: dict[str, str], transcribed: bool) -> Iterator[Utterance]:
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, restkey=_BEYOND, delimiter="\t", quoting=csv.QUOTE_NONE)
        needed = {"path", "transcript"} if transcribed else {"path"}
        missing = {*needed, *where} - set(reader.fieldnames or ())
        if missing:
            raise CorpusError(f"{path}: the header line lacks {sorted(missing)}; it has {reader.fieldnames}")
        for row in reader:
            if any(row[column] is None for column in needed):
                raise CorpusError(f"{path}, line {reader.line_num}: too few columns")
            if any(row.get(_BEYOND) or ()):  # of a tab in a transcript, what is behind it
                raise CorpusError(f"{path}, line {reader.line_num}: too many columns, with {row[_BEYOND][0]!r} in them")
            if all(row[column] == value for column, value in where.items()):
                duration_s = _number(row.get("duration_s") or "0", path, reader.line_num)
                audio = path.parent / row["path"]
                yield Utterance(
                    row.get("id") or row["path"],
                    audio,
                    row.get("transcript") or "",
                    row.get("speaker") or "",
                    duration_s,
                )


def _read_json_lines(path: Path, where: dict[str, str], transcribed: bool) -> Iterator[Utterance]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            audio, text = row["audio_filepath"], row["text"] if transcribed else row.get("text")
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            needed = "audio_filepath and text" if transcribed else "audio_filepath"
            raise CorpusError(f"{path}, line {number}: needs {needed}: {error!r}") from error
        if not isinstance(audio, str) or not isinstance(text, str | None):
            raise CorpusError(
                f"{path}, line {number}: audio_filepath is {audio!r}, text {text!r}; both must be strings"
            )
        if all(str(row.get(column)) == value for column, value in where.items()):
            if row.get("offset"):
                raise CorpusError(f"{path}, line {number}: offset is {row['offset']!r}; cut the recording first")
            duration_s = _number(row.get("duration") or 0, path, number)
            yield Utterance(
                str(row.get("id") or audio),
                path.parent / audio,
                text or "",
                str(row.get("speaker") or ""),
                duration_s,
            )


def _number(value: str | float, path: Path, line: int) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{path}, line {line}: duration is {value!r}; it must be seconds") from error
    if not math.isfinite(number):
        raise CorpusError(f"{path}, line {line}: duration is {value!r}; it must be seconds")
    return number
