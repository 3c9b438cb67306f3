"""`cepstra train-speller`: wiring only, as in `training.commands`."""

from pathlib import Path
from typing import Annotated

import typer

from training.speller_recipe import SpellerRecipe
from training.terminal import clear_errors

_USUAL = SpellerRecipe()


def train_speller(
    recipe: Annotated[str, typer.Argument(help="The recipe of the bundle's acoustic model: a name or a YAML file.")],
    bundle: Annotated[Path, typer.Argument(help="A bundle with a head for phones.")],
    text: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...", help="Files with a sentence a line: plain, .gz, .bz2 or .xz; - is standard input."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The run's folder; a run that lies there goes on where it was.")],
    warm_start: Annotated[
        Path | None,
        typer.Option(help="A bundle whose speller to begin from; otherwise that of BUNDLE, or random weights."),
    ] = None,
    layers: Annotated[int, typer.Option(help="Layers of the speller.")] = _USUAL.layers,
    size: Annotated[int, typer.Option(help="Width of a layer.")] = _USUAL.size,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.")] = _USUAL.steps,
    batch_s: Annotated[float, typer.Option(help="Seconds of speech in a step.")] = _USUAL.batch_s,
    hours: Annotated[float, typer.Option(help="Hours of the corpus to listen to.")] = _USUAL.hours,
    peak_lr: Annotated[float, typer.Option(help="Highest learning rate.")] = _USUAL.peak_lr,
    checkpoint_minutes: Annotated[float, typer.Option(help="Between checkpoints.")] = _USUAL.checkpoint_minutes,
    seed: Annotated[int, typer.Option(help="Of weights, text, pieces and dropout.")] = _USUAL.seed,
    devices: Annotated[int, typer.Option(min=1, help="Processes that share every step.")] = 1,
) -> None:
    """Teach a bundle's network to spell what it hears, from a text; never from that of a dev or test corpus.

    The new bundle is DIR/bundle. A search hears as before, greedy transcripts change: `cepstra calibrate` comes next.
    """
    with clear_errors():
        from training.memory import keep_freed_memory

        keep_freed_memory()  # before torch is there
        from training.ngram_text import read_text
        from training.recipe import load_recipe
        from training.speller import train_speller as run

        asked = SpellerRecipe(
            layers=layers,
            size=size,
            steps=steps,
            batch_s=batch_s,
            hours=hours,
            peak_lr=peak_lr,
            checkpoint_minutes=checkpoint_minutes,
            seed=seed,
        )
        trained = run(
            load_recipe(recipe),
            bundle,
            read_text(text),
            out,
            asked,
            warm_start=warm_start,
            record={"texts": [Path(source).name for source in text]},
            devices=devices,
            say=lambda line: typer.echo(line, err=True),
        )
        typer.echo(str(trained))
