"""The `cepstra` command. Nothing but wiring: each command imports what it needs when it runs."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from model.shipped import SHIPPED_BUNDLE
from service.backup_commands import backup, restore
from service.command_options import fail, option
from service.inspect_commands import inspect
from service.key_commands import keys_app
from service.model_commands import models_app
from service.serve_commands import serve, work
from service.transcribe_commands import listen, transcribe
from training.commands import average, calibrate, evaluate, pack, train
from training.corpus_commands import data_app
from training.neural_commands import lm_app
from training.pronunciation_commands import pronounce_app
from training.rejection_commands import tune_rejection
from training.speller_commands import train_speller

# New objects after which Python looks for cycles. Its own 700 cost a start a third of a second: torch and the lexicon
# make hundreds of thousands of objects and no garbage.
OBJECTS_A_COLLECTION = 50_000

app = typer.Typer(
    name="cepstra",
    help="Speech recognition on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(data_app, name="data")
app.add_typer(lm_app, name="lm")
app.add_typer(pronounce_app, name="pronounce")
app.add_typer(keys_app, name="keys")
app.add_typer(models_app, name="models")
app.command()(serve)
app.command()(work)
app.command()(transcribe)
app.command()(listen)
app.command()(inspect)
app.command()(train)
app.command()(train_speller)
app.command()(evaluate)
app.command()(tune_rejection)
app.command()(calibrate)
app.command()(average)
app.command()(pack)
app.command()(backup)
app.command()(restore)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The file to write; it ends in .onnx.")],
    bundle: Annotated[
        Path, option("BUNDLE", "Directory of the model bundle.", show_default="bundles/cepstra-base beside cli.py")
    ] = SHIPPED_BUNDLE,
    int8: Annotated[bool, typer.Option("--int8", help="With weights of 8 bits.")] = False,
) -> None:
    """Write a bundle's acoustic model as ONNX: features and their lengths to log-probabilities, for any batch."""
    from features.errors import CepstraError

    try:
        from model.checkpoint import load_bundle
        from model.export import write_onnx

        size_bytes = write_onnx(load_bundle(bundle).acoustic_model, out, int8=int8)
    except (CepstraError, OSError) as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        fail(f"{error}; this needs the extra: pip install 'cepstra[onnx]'")
    typer.echo(f"{out}: {size_bytes / 2**20:.1f} MiB")


def main() -> None:
    """Entry point of the installed command."""
    gc.set_threshold(OBJECTS_A_COLLECTION)
    app()


if __name__ == "__main__":
    main()
