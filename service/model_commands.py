"""`cepstra models`: wiring only, with imports where a command needs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.errors import CepstraError
from model.shipped import SHIPPED_BUNDLE
from service.state import STATE_DIR

if TYPE_CHECKING:
    from model.checkpoint import Bundle
    from service.registry import Registry

models_app = typer.Typer(
    help="Models of the service. Running servers that share the folders follow within a second or two.",
    no_args_is_help=True,
)

ModelsDir = Annotated[
    Path | None,
    typer.Option(envvar="CEPSTRA_MODELS_DIR", help="The folder of bundles.", show_default="none"),
]
BundleDir = Annotated[
    Path,
    typer.Option(
        envvar="CEPSTRA_BUNDLE",
        help="The bundle that is the default until another is promoted.",
        show_default="bundles/cepstra-base beside cli.py",
    ),
]
StateDir = Annotated[
    Path,
    typer.Option(
        envvar="CEPSTRA_STATE_DIR", help="The folder that models.json lies in.", show_default="~/.local/state/cepstra"
    ),
]


@models_app.command("list")
def list_models(
    models_dir: ModelsDir = None, bundle: BundleDir = SHIPPED_BUNDLE, state_dir: StateDir = STATE_DIR
) -> None:
    """Show all models; the default is marked."""
    with _registry(bundle, models_dir, state_dir) as registry:
        default = registry.promoted()
        for model in registry.models():
            written = datetime.fromtimestamp(model.created_at, UTC).strftime("%Y-%m-%d %H:%M")
            typer.echo(f"{'*' if model is default else ' '} {model.name}  {written}")


@models_app.command()
def promote(
    name: Annotated[str, typer.Argument(help="The model that is to be the default.")],
    models_dir: ModelsDir = None,
    bundle: BundleDir = SHIPPED_BUNDLE,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Make a model the default, after checking that it can be loaded."""
    with _registry(bundle, models_dir, state_dir) as registry:
        typer.echo(registry.promote(name).name)


@models_app.command()
def rollback(models_dir: ModelsDir = None, bundle: BundleDir = SHIPPED_BUNDLE, state_dir: StateDir = STATE_DIR) -> None:
    """Go back to the default before this one, and write its name; again, to the one before that."""
    with _registry(bundle, models_dir, state_dir) as registry:
        typer.echo(registry.rollback().name)


@contextmanager
def _registry(bundle: Path, models_dir: Path | None, state_dir: Path) -> "Iterator[Registry[Bundle]]":
    """The models, loaded only to be checked; our errors become one line on standard error and exit status 1."""
    try:
        from service.promotions import Promotions
        from service.registry import Registry

        yield Registry(bundle, models_dir, Promotions(state_dir), _load)
    except CepstraError as error:
        typer.echo(f"cepstra: {error}", err=True)
        raise typer.Exit(1) from error


def _load(path: Path) -> "Bundle":
    from model.checkpoint import load_bundle  # torch takes a second, and listing needs none

    return load_bundle(path)
