"""From OpenSLR's archives to a corpus on disk: fetched, checked, unpacked.

Whatever stops it, the same call goes on: an archive grows from the byte where it broke off, nothing is unpacked whose
MD5 is not the published one, and a part appears in its place only when all of it is there.
"""

import hashlib
import http.client
import logging
import os
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath

from training.errors import DownloadError
from training.librispeech import CORPUS_FOLDER, OPENSLR, Part

BLOCK_BYTES = 256 * 1024
TIMEOUT_S = 60.0  # without a byte
PAUSES_S = (1.0, 5.0, 15.0)  # between tries that bring nothing; after the last it is given up
UNPACKED_SHARE = 1.05  # of the archive: gzip gains nothing on FLAC, and what file systems round up is 1 % on ext4

Advance = Callable[[int, int], None]
Progress = Callable[[str], AbstractContextManager[Advance]]

log = logging.getLogger(__name__)


@contextmanager
def silent(what: str) -> Iterator[Advance]:
    """Progress that nobody sees."""
    yield lambda done, total: None


def download(
    parts: Sequence[Part],
    out: str | os.PathLike[str],
    *,
    base_url: str = OPENSLR,
    keep_archives: bool = False,
    progress: Progress = silent,
) -> list[Path]:
    """Fetch, check and unpack parts to `out/LibriSpeech/<part>`; those whose folder is there already are skipped.

    Archives lie in `out` while they are needed. An archive that somebody else put there, whole or in part, is used.

    Args:
        parts: see `training.librispeech.find_parts`.
        out: a folder, made where it is missing.
        base_url: where `12/dev-clean.tar.gz` and so on are found.
        keep_archives: leave the archives in `out`.
        progress: given what is done now, a context that yields a function of bytes done and bytes in all.

    Returns:
        The parts' folders.

    Raises:
        DownloadError: no space for it; an archive cannot be fetched, is corrupt twice, or holds what it must not.
    """
    if not base_url.startswith(("http://", "https://")):
        raise DownloadError(f"the base URL is {base_url!r}; it must begin with http:// or https://")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [part for part in parts if not (folder / CORPUS_FOLDER / part.name).is_dir()]
    _check_space(missing, folder, keep_archives)
    for part in missing:
        archive = folder / f"{part.name}.tar.gz"
        _fetch_intact(part, f"{base_url.rstrip('/')}/{part.resource}/{archive.name}", archive, progress)
        _unpack(part, archive, folder, progress)
        if not keep_archives:
            archive.unlink()
    return [folder / CORPUS_FOLDER / part.name for part in parts]


def _check_space(parts: Sequence[Part], folder: Path, keep_archives: bool) -> None:
    """Refuse what the disk cannot hold: all that is unpacked, and the largest archive, or all of them, beside it."""
    to_fetch = [max(0, part.size_bytes - _size(folder / f"{part.name}.tar.gz")) for part in parts]
    unpacked_bytes = sum(part.size_bytes * UNPACKED_SHARE for part in parts)
    needed_bytes = unpacked_bytes + (sum(to_fetch) if keep_archives else max(to_fetch, default=0))
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise DownloadError(
            f"{folder} has {free_bytes / 1e9:.1f} GB free; {', '.join(part.name for part in parts)} and the archives "
            f"beside it need {needed_bytes / 1e9:.1f} GB: make room, take fewer parts, or another folder"
        )


def _fetch_intact(part: Part, url: str, archive: Path, progress: Progress) -> None:
    """The whole archive with the published MD5; one that is corrupt is deleted and fetched once more."""
    for again in (True, False):
        _fetch(part, url, archive, progress)
        found = _md5(part, archive, progress)
        if found == part.md5:
            return
        archive.unlink()
        problem = f"{archive} was corrupt: its MD5 is {found}, the published one is {part.md5}"
        if again:
            log.warning("%s; it is deleted and fetched once more", problem)
    raise DownloadError(f"{problem}. So it was the second time, and it is deleted: try another base URL than {url}")


def _fetch(part: Part, url: str, archive: Path, progress: Progress) -> None:
    """Let the archive grow to its size, as often as the connection breaks off, unless tries bring nothing."""
    pauses = iter(PAUSES_S)
    with progress(f"downloading {part.name}") as advance:
        while (before := _size(archive)) < part.size_bytes:
            problem = _append(part, url, archive, advance)
            if (now := _size(archive)) >= part.size_bytes:
                return
            if now > before:
                pauses = iter(PAUSES_S)
            where = f"{url} broke off at byte {now} of {part.size_bytes}: {problem}"
            pause_s = next(pauses, None)
            if pause_s is None:
                raise DownloadError(f"{where}. The same command goes on from there")
            log.warning("%s; going on in %g s", where, pause_s)
            time.sleep(pause_s)


def _append(part: Part, url: str, archive: Path, advance: Advance) -> str:
    """Ask for the bytes that are missing and append what comes; returns why no more came.

    A server that ignores the range sends everything, and the archive begins anew.
    """
    have = _size(archive)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (408, 429) or error.code >= 500:
            return f"HTTP {error.code} {error.reason}"
        raise DownloadError(f"{url}: HTTP {error.code} {error.reason}; try another base URL") from error
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    with answer, archive.open("r+b" if have else "wb") as stream:
        at, total = _range(answer, have)
        if at > have or total not in (None, part.size_bytes):
            raise DownloadError(
                f"{url} answers with bytes {at} to {total}; the archive of {part.name} has {part.size_bytes}, and "
                f"those from {have} on were asked for: try another base URL"
            )
        stream.seek(at)
        stream.truncate()
        while at < part.size_bytes:
            try:
                block = answer.read(min(BLOCK_BYTES, part.size_bytes - at))
            except (OSError, http.client.HTTPException) as error:
                return str(error) or type(error).__name__
            if not block:
                return "the server closed the connection"
            stream.write(block)
            at += len(block)
            advance(at, part.size_bytes)
    return "nothing is missing"


def _range(answer: http.client.HTTPResponse, asked: int) -> tuple[int, int | None]:
    """The first byte that an answer brings, and the size of the whole file where that is told."""
    if answer.status == 206:
        found = re.match(r"bytes (\d+)-\d+/(\d+)?", answer.headers.get("Content-Range", ""))
        return (int(found[1]), int(found[2]) if found[2] else None) if found else (asked, None)
    length = answer.headers.get("Content-Length")
    return 0, int(length) if length else None


def _md5(part: Part, archive: Path, progress: Progress) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with progress(f"checking {part.name}") as advance, archive.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            advance(stream.tell(), part.size_bytes)
    return digest.hexdigest()


def _unpack(part: Part, archive: Path, folder: Path, progress: Progress) -> None:
    """Unpack beside the corpus, then move: the part last, so that where its folder is, all of it is."""
    scratch = folder / f".unpacking-{part.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with (
            progress(f"unpacking {part.name}") as advance,
            archive.open("rb") as stream,
            tarfile.open(fileobj=stream, mode="r|gz") as tar,
        ):
            for member in tar:
                target = scratch / _place(member, archive)
                source = tar.extractfile(member)
                if source is not None:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with source, target.open("wb") as sink:
                        shutil.copyfileobj(source, sink)
                advance(stream.tell(), part.size_bytes)
        unpacked, corpus = scratch / CORPUS_FOLDER, folder / CORPUS_FOLDER
        if not (unpacked / part.name).is_dir():
            raise DownloadError(f"{archive} has no folder {CORPUS_FOLDER}/{part.name}")
        corpus.mkdir(exist_ok=True)
        for path in sorted(unpacked.iterdir(), key=Path.is_dir):
            if path.is_file() or path.name == part.name:
                os.replace(path, corpus / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _place(member: tarfile.TarInfo, archive: Path) -> PurePosixPath:
    """Where a member goes: a plain file or a folder, below `LibriSpeech`, and nothing else.

    Files are written anew, so that neither owners and modes nor links come out of an archive, on any Python version.
    """
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()) or ".." in path.parts or path.parts[:1] != (CORPUS_FOLDER,):
        raise DownloadError(
            f"{archive} holds {member.name!r}, which is no file or folder below {CORPUS_FOLDER}/; nothing is unpacked"
        )
    return path


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
