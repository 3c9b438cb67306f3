"""`cepstra backup` and `cepstra restore`: wiring only, with imports where a command needs them."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from features.errors import CepstraError
from service.state import STATE_DIR

if TYPE_CHECKING:
    from service.backup import Manifest

File = Annotated[str, typer.Argument(metavar="FILE", help="A tar file; - is standard output or input.")]
StateDir = Annotated[
    Path,
    typer.Option(
        envvar="CEPSTRA_STATE_DIR", help="The folder of keys and jobs.", show_default="~/.local/state/cepstra"
    ),
]


def backup(
    file: File,
    state_dir: StateDir = STATE_DIR,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="CEPSTRA_DATABASE_URL",
            help="Where jobs are in PostgreSQL, their rows are not in the file: dump them before, with pg_dump.",
        ),
    ] = None,
) -> None:
    """Write keys, jobs and their audio, as they are now, to one file; servers and workers go on.

    The file holds hashes of keys, the secret of webhooks, transcripts and audio: keep it as you keep those.
    """
    with _clear_errors():
        from service.backup import write_backup

        with _written(file) as out:
            manifest = write_backup(state_dir, out, with_database=not database_url)
        _say(f"backup of {state_dir}: {_described(manifest)}")
        if database_url:
            _say("the jobs' rows are not in it: they are in PostgreSQL, for pg_dump")


def restore(file: File, state_dir: StateDir = STATE_DIR) -> None:
    """Make a state directory of a backup. It has to be missing or empty; servers come after this."""
    with _clear_errors():
        from service.backup import read_backup

        with _opened(file) as source:
            manifest = read_backup(source, state_dir)
        _say(f"restored to {state_dir}: {_described(manifest)}")


@contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    """What is written there appears under its name once it is whole and on disk, for its owner alone."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(scratch, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(scratch)
        raise


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with open(file, "rb") as source:
        yield source


def _described(manifest: "Manifest") -> str:
    audio = sum(name.startswith("jobs/audio/") for name in manifest.files)
    return f"{len(manifest.files)} files, {audio} of them audio, {manifest.size / 1e6:.1f} MB"


def _say(text: str) -> None:
    typer.echo(f"cepstra: {text}", err=True)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn our errors and those of the file into one line on standard error and exit status 1."""
    try:
        yield
    except (CepstraError, OSError) as error:
        _say(str(error))
        raise typer.Exit(1) from error
