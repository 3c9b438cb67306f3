"""`cepstra keys`: wiring only, with imports where a command needs them."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.errors import CepstraError
from service.state import STATE_DIR

if TYPE_CHECKING:
    from service.keys import Key

keys_app = typer.Typer(
    help="Keys of the service: with the first one, every request needs one. Changes hold at once, without a restart.",
    no_args_is_help=True,
)

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Name = Annotated[str, typer.Argument(help="Who holds the key: letters, digits, '.', '_' and '-'.")]
StateDir = Annotated[
    Path,
    typer.Option(
        envvar="CEPSTRA_STATE_DIR", help="The folder that keys.json lies in.", show_default="~/.local/state/cepstra"
    ),
]


@keys_app.command()
def create(
    name: Name,
    scopes: Annotated[
        str, typer.Option(help="What it may be used for: transcribe, jobs, metrics, admin; several with commas.")
    ] = "transcribe",
    expires: Annotated[str | None, typer.Option(help="After how long it ends: 90d, 12h, 30m.")] = None,
    rate: Annotated[int | None, typer.Option(help="Requests a minute.", show_default="CEPSTRA_KEY_RATE", min=1)] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(help="Requests at work or waiting at once.", show_default="CEPSTRA_MAX_PER_KEY", min=1),
    ] = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Make a key and write it to standard output, the only time that it can be seen."""
    with _clear_errors():
        from service.keys import KeyFile

        expires_at = None if expires is None else int(time.time()) + seconds(expires)
        secret = KeyFile(state_dir).create(
            name,
            tuple(dict.fromkeys(scopes.split(","))),
            expires_at=expires_at,
            requests_per_minute=rate,
            concurrency=concurrency,
        )
        typer.echo(secret)


@keys_app.command("list")
def list_keys(state_dir: StateDir = STATE_DIR) -> None:
    """Show all keys, without their secrets."""
    with _clear_errors():
        from service.keys import KeyFile

        keys = KeyFile(state_dir).read()
        if keys is None:
            typer.echo(f"cepstra: no keys in {state_dir}", err=True)
            return
        rows = [("NAME", "SCOPES", "CREATED", "EXPIRES", "RATE", "CONCURRENCY"), *map(_row, keys)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            typer.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@keys_app.command()
def revoke(name: Name, state_dir: StateDir = STATE_DIR) -> None:
    """Remove a key: the next request with it is refused. Without any key left, nobody is let in."""
    with _clear_errors():
        from service.keys import KeyFile

        KeyFile(state_dir).revoke(name)


@keys_app.command()
def rotate(
    name: Name,
    grace: Annotated[str, typer.Option(help="How long the secret before is taken still: 1d, 12h; 0s ends it.")] = "1d",
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Give a key a new secret, written to standard output; the old one goes on for a while."""
    with _clear_errors():
        from service.keys import KeyFile

        typer.echo(KeyFile(state_dir).rotate(name, grace_s=seconds(grace)))


def seconds(text: str) -> int:
    """`90d`, `12h`, `30m` or `45s` in seconds; raises KeyFileError."""
    from service.errors import KeyFileError

    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise KeyFileError(f"'{text}' is no length of time such as 90d, 12h, 30m or 45s")
    return int(found[1]) * UNITS_S[found[2]]


def _row(key: "Key") -> tuple[str, ...]:
    expires = "never" if key.expires_at is None else _day(key.expires_at)
    if key.expires_at is not None and key.expires_at <= time.time():
        expires += " (ended)"
    numbers = (str(number or "-") for number in (key.requests_per_minute, key.concurrency))
    return key.name, ",".join(key.scopes), _day(key.created_at), expires, *numbers


def _day(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M")


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn our errors into one line on standard error and exit status 1."""
    try:
        yield
    except CepstraError as error:
        typer.echo(f"cepstra: {error}", err=True)
        raise typer.Exit(1) from error
