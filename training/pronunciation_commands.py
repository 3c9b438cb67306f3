"""`cepstra pronounce train` and `words`: wiring only, as in `training.commands`."""

from pathlib import Path
from typing import Annotated

import typer

from training.terminal import clear_errors

pronounce_app = typer.Typer(help="How words are pronounced.", no_args_is_help=True)


@pronounce_app.command("train")
def train(
    dictionary: Annotated[Path, typer.Argument(help="Words and their phones, in CMUdict's format.")],
    out: Annotated[Path, typer.Option(help="The model to write.")],
    held_out: Annotated[float, typer.Option(help="Share of the words that is for the error rates only.")] = 0.02,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the dictionary.")] = 12,
    minutes: Annotated[
        float | None, typer.Option(help="End after so many minutes of training, whatever the passes.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of the BiLSTM: bf16 or fp32.")] = "bf16",
    peak_lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-3,
    warm_start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A model to begin with, of the same dictionary, share and seed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of held-out words, weights, order and dropout.")] = 1,
) -> None:
    """Train the letter-to-sound model on a pronouncing dictionary, and say how often it is wrong on other words."""
    with clear_errors():
        from training.memory import keep_freed_memory

        keep_freed_memory()  # before torch is there
        from model.letter_to_sound import load_letter_to_sound
        from training.dictionary import read_dictionary
        from training.letter_to_sound import train_letter_to_sound
        from training.letter_to_sound_recipe import LetterToSoundRecipe

        recipe = LetterToSoundRecipe(
            epochs=epochs, minutes=minutes, held_out=held_out, precision=precision, peak_lr=peak_lr, seed=seed
        )
        model = train_letter_to_sound(
            read_dictionary(dictionary),
            out,
            recipe,
            warm_start=load_letter_to_sound(warm_start) if warm_start is not None else None,
            record={"dictionary": dictionary.name},
            say=lambda line: typer.echo(line, err=True),
        )
        phones, words = model.record["phone_error_rate"], model.record["word_error_rate"]
        typer.echo(
            f"{out}: phone error rate {phones:.2%}, word error rate {words:.2%} "
            f"on {model.record['held_out_words']} words held out, after {model.record['epochs']:g} passes"
        )


@pronounce_app.command("words")
def words(
    words: Annotated[Path, typer.Argument(metavar="WORDS", help="The words to pronounce, the first one of each line.")],
    dictionary: Annotated[Path, typer.Option(help="A dictionary that is believed where it has a word.")],
    out: Annotated[Path, typer.Option(help="The dictionary to write, in CMUdict's format.")],
    model: Annotated[Path | None, typer.Option(help="What `pronounce train` wrote, for all other words.")] = None,
    espeak: Annotated[
        bool, typer.Option("--espeak", help="Instead of a model: the rules of espeak-ng, where that is installed.")
    ] = False,
) -> None:
    """Write a pronouncing dictionary of a list of words: from a dictionary, and by the model where that has no word."""
    with clear_errors():
        from model.errors import OptionError
        from model.letter_to_sound import load_letter_to_sound
        from training.dictionary import Pronouncer, pronounce_words, read_dictionary, read_words, write_dictionary
        from training.espeak import Espeak

        if (model is None) != espeak:
            raise OptionError("words that the dictionary lacks are pronounced by --model FILE or by --espeak: say one")
        pronouncer: Pronouncer = load_letter_to_sound(model) if model is not None else Espeak()
        pronounced = pronounce_words(read_words(words), read_dictionary(dictionary), pronouncer)
        write_dictionary(pronounced.dictionary, out)
        for problem in pronounced.left_out:
            typer.echo(f"left out: {problem}", err=True)
        typer.echo(
            f"{out}: {len(pronounced.dictionary)} words, {pronounced.n_looked_up} from {dictionary}, "
            f"{pronounced.n_by_model} by {'espeak-ng' if espeak else 'the model'}; {len(pronounced.left_out)} left out"
        )
