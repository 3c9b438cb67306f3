"""What the commands of training share: errors as one line, progress on stderr, options that several have."""

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from features.errors import CepstraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def clear_errors() -> "Iterator[None]":
    """Turn our errors, and a missing extra, into one line on stderr and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        yield
    except (CepstraError, OSError) as error:
        typer.echo(f"cepstra: {error}", err=True)
        raise typer.Exit(1) from error
    except ModuleNotFoundError as error:
        typer.echo(f"cepstra: {error}; training needs the extra: pip install 'cepstra[train]'", err=True)
        raise typer.Exit(1) from error
    except RuntimeError as error:
        if not _is_left_alone(error):
            raise
        typer.echo("cepstra: another process of this run has ended, so this one ends too; that one says why", err=True)
        raise typer.Exit(1) from error


def _is_left_alone(error: RuntimeError) -> bool:
    """Whether a process that shares a run's batches waited for one that is gone."""
    import torch.distributed as processes

    if not processes.is_available() or not processes.is_initialized() or processes.get_world_size() < 2:
        return False
    return isinstance(error, processes.DistError) or "gloo" in str(error).lower()


@contextmanager
def progress_bar(what: str) -> "Iterator[Callable[[int, int], None]]":
    """A bar on stderr, where that is a terminal; yields a function of units done and units in all."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


@contextmanager
def progress_in_bytes(what: str) -> "Iterator[Callable[[int, int], None]]":
    """The same of bytes, with their number and speed; where stderr is no terminal, one line that says what is done."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    terminal = sys.stderr.isatty()
    if not terminal:
        typer.echo(what, err=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not terminal) as bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


def conditions(where: list[str] | None) -> dict[str, str]:
    """What `--where COLUMN=VALUE` asks of a manifest's rows; one without `=` is refused by name."""
    wanted = {}
    for condition in where or []:
        column, equals, value = condition.partition("=")
        if not equals or not column:
            raise typer.BadParameter(f"{condition!r} is not COLUMN=VALUE", param_hint="--where")
        wanted[column] = value
    return wanted
