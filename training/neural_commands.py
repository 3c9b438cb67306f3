"""`cepstra lm train-neural`, `attach-neural` and `tune-neural`: wiring only, as in `training.commands`."""

from pathlib import Path
from typing import Annotated

import typer

from training.ngram_commands import lm_app
from training.terminal import clear_errors, conditions, progress_bar

__all__ = ["lm_app"]


@lm_app.command("train-neural")
def train_neural(
    text: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...", help="Files with a sentence a line: plain, .gz, .bz2 or .xz; - is standard input."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The run's folder; a run that lies there goes on where it was.")],
    limit_vocab: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only the words that stand first in a line of this file.")
    ] = None,
    vocab_size: Annotated[int, typer.Option(min=1, help="Of those only the N most frequent in the text.")] = 30_000,
    width: Annotated[int, typer.Option(min=1, help="Units of an LSTM layer.")] = 512,
    layers: Annotated[int, typer.Option(min=1, help="LSTM layers.")] = 1,
    dropout: Annotated[float, typer.Option(help="Share of units dropped in training.")] = 0.1,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the text.")] = 2,
    minutes: Annotated[
        float | None, typer.Option(help="End after so many minutes of training, whatever the passes.")
    ] = None,
    batch_words: Annotated[int, typer.Option(min=1, help="Words of a batch, padding counted.")] = 3000,
    peak_lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    hold_back_every: Annotated[int, typer.Option(min=2, help="Every N-th sentence is for the perplexity only.")] = 200,
    precision: Annotated[str, typer.Option(help="Of the LSTM: bf16 or fp32.")] = "bf16",
    checkpoint_minutes: Annotated[float, typer.Option(min=0.0, help="Between checkpoints.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Of weights, order and dropout.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Train an LSTM language model on a text; never on that of a dev or test corpus, or their numbers mean nothing.

    The model is DIR/neural_lm.safetensors, there from the first checkpoint on; `attach-neural` adds it to a bundle.
    """
    with clear_errors():
        from training.memory import keep_freed_memory

        keep_freed_memory()  # before torch is there
        from training.neural_lm import train_neural_lm
        from training.neural_recipe import NeuralLMRecipe
        from training.ngram_text import read_text, read_word_list

        recipe = NeuralLMRecipe(
            width=width,
            layers=layers,
            dropout=dropout,
            epochs=epochs,
            minutes=minutes,
            batch_words=batch_words,
            hold_back_every=hold_back_every,
            peak_lr=peak_lr,
            precision=precision,
            checkpoint_minutes=checkpoint_minutes,
            seed=seed,
        )
        allowed = read_word_list(limit_vocab) if limit_vocab is not None else None
        with progress_bar("reading") as advance:
            sentences = read_text(text, progress=advance)
        model = train_neural_lm(
            sentences,
            out,
            recipe,
            allowed=allowed,
            vocab_size=vocab_size,
            record={"texts": [Path(source).name for source in text]},
            accelerator=accelerator,
            say=lambda line: typer.echo(line, err=True),
        )
        typer.echo(str(model))


@lm_app.command("attach-neural")
def attach_neural(
    bundle: Annotated[Path, typer.Argument(help="A bundle with an n-gram model.")],
    model: Annotated[Path, typer.Argument(help="What `train-neural` wrote: its folder, or the file in it.")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the new bundle.", show_default="the old one's")] = None,
    neural_weight: Annotated[float, typer.Option(help="Share of the model in the probability of a word, 0..1.")] = 0.5,
    n_best: Annotated[int, typer.Option(min=1, help="Hypotheses that it puts in order.")] = 50,
) -> None:
    """Write a bundle whose search results are put in order by a neural language model."""
    with clear_errors():
        from dataclasses import replace

        from model.checkpoint import load_bundle, save_bundle
        from model.language_model import RescoringConfig
        from model.neural_language_model import load_neural_lm
        from training.neural_lm import MODEL_FILE

        rescoring = RescoringConfig(neural_weight, n_best)
        neural_lm = load_neural_lm(model / MODEL_FILE if model.is_dir() else model)
        loaded = load_bundle(bundle)
        save_bundle(replace(loaded, name=name or loaded.name, neural_lm=neural_lm, rescoring=rescoring), out)
        typer.echo(f"{out}: {len(neural_lm.words)} words, perplexity {neural_lm.record.get('perplexity', 'unknown')}")


@lm_app.command("tune-neural")
def tune_neural(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a neural model; it is rewritten with the best weight.")],
    manifest: Annotated[Path, typer.Option(help="The dev corpus.")],
    where: Annotated[list[str] | None, typer.Option(help="Keep only COLUMN=VALUE, as in `data prepare`.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every N-th utterance.")] = 1,
    neural_weight: Annotated[
        list[float] | None, typer.Option(help="A weight to try, 0..1.", show_default="0 to 1 by tenths")
    ] = None,
    n_best: Annotated[
        int | None, typer.Option(min=1, help="Hypotheses of a stretch.", show_default="the bundle's")
    ] = None,
) -> None:
    """Find the neural model's weight with the fewest word errors, and say what it and the N-best lists can reach."""
    with clear_errors():
        from dataclasses import replace

        from model.checkpoint import load_bundle, save_bundle
        from training.corpora import read_corpus
        from training.tune_rescoring import tune_rescoring

        loaded = load_bundle(bundle)
        utterances = read_corpus(manifest, where=conditions(where))[::every]
        with progress_bar("searching") as advance:
            result = tune_rescoring(
                loaded,
                utterances,
                neural_weights=neural_weight or [tenth / 10 for tenth in range(11)],
                n_best=n_best,
                progress=advance,
            )
        typer.echo(f"WER {result.before.rate:.2%}  the search alone")
        for trial in result.trials:
            typer.echo(f"WER {trial.words.rate:.2%}  --neural-weight {trial.config.neural_weight:g}")
        typer.echo(f"WER {result.oracle.rate:.2%}  the best of each list (oracle)")
        save_bundle(replace(loaded, rescoring=result.trials[0].config), bundle)
