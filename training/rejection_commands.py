"""`cepstra tune-rejection`: wiring only, as in `training.commands`."""

from pathlib import Path
from typing import Annotated

import typer

from training.terminal import clear_errors, conditions, progress_bar


def tune_rejection(
    bundle: Annotated[Path, typer.Argument(help="The bundle; it is rewritten with the weights that are found.")],
    manifest: Annotated[Path, typer.Option(help="The dev corpus: speech with transcripts.")],
    noise: Annotated[
        list[Path] | None, typer.Option(help="Manifest of recordings in which nobody speaks; may be repeated.")
    ] = None,
    where: Annotated[list[str] | None, typer.Option(help="Keep only COLUMN=VALUE, as in `data prepare`.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every N-th utterance.")] = 1,
    every_noise: Annotated[int, typer.Option(min=1, help="Take every N-th recording of noise.")] = 1,
    sounds: Annotated[int, typer.Option(min=0, help="Sounds made by chance: tones, tunes, beats, noise.")] = 400,
    most_words_lost: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the dev corpus's words that may be dropped.")
    ] = 0.001,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is found; leave the bundle as it is.")] = False,
) -> None:
    """Find how a bundle tells speech from other sounds, in which it is to hear no words."""
    with clear_errors():
        from dataclasses import replace

        from model.checkpoint import load_bundle, save_bundle
        from training.corpora import read_corpus
        from training.tune_rejection import FEATURES
        from training.tune_rejection import tune_rejection as run

        loaded = load_bundle(bundle)
        utterances = read_corpus(manifest, where=conditions(where))[::every]
        noises = [u.path for source in noise or [] for u in read_corpus(source, transcribed=False)[::every_noise]]
        with progress_bar("listening") as advance:
            found = run(loaded, utterances, noises, n_sounds=sounds, most_words_lost=most_words_lost, progress=advance)
        weights = "  ".join(f"{name} {getattr(found.config, name):.3g}" for name in (*FEATURES, "bias", "threshold"))
        typer.echo(weights)
        typer.echo(f"{found.words_lost} of {found.words} words of speech are dropped")
        typer.echo(
            f"words are heard in {len(found.sounds_left)} of {found.sounds} other sounds; with nothing dropped in "
            f"{found.sounds_with_words}"
        )
        if found.sounds_left:
            typer.echo(", ".join(found.sounds_left))
        if not dry_run:
            save_bundle(replace(loaded, rejection=found.config), bundle)
