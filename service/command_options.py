"""What the commands share that are told by options or by the environment."""

from typing import Any, NoReturn

import typer


def option(variable: str, help_: str, *, show_default: bool | str = True, min_: int | None = None) -> Any:
    """An option that is also the environment variable `CEPSTRA_<variable>`."""
    return typer.Option(envvar=f"CEPSTRA_{variable}", help=help_, show_default=show_default, min=min_)


def fail(message: str, *, status: int = 1) -> NoReturn:
    """End the command with one line on standard error."""
    typer.echo(f"cepstra: {message}", err=True)
    raise typer.Exit(status)
