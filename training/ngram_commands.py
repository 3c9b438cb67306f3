"""`cepstra lm build`, `attach` and `tune`: wiring only, as in `training.commands`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from training.terminal import clear_errors, conditions, progress_bar

lm_app = typer.Typer(help="Language models.", no_args_is_help=True)


class _PruneAsInLmplz(TyperCommand):
    """A command whose `--prune 0 0 1` takes all the numbers that follow it, as lmplz's does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of the numbers, which is what the parser understands."""
        repeated: list[str] = []
        for word in args:
            follows = word.isdigit() and repeated[-2:-1] == ["--prune"] and repeated[-1].isdigit()
            repeated += ["--prune", word] if follows else [word]
        return super().parse_args(ctx, repeated)


@lm_app.command("build", cls=_PruneAsInLmplz)
def build(
    text: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...", help="Files with a sentence a line: plain, .gz, .bz2 or .xz; - is standard input."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The model to write: .arpa, or .arpa.gz.")],
    order: Annotated[int, typer.Option(help="Words of the longest n-grams, 2 to 6.")] = 3,
    prune: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N N ...",
            help="For unigrams, bigrams, ... the count up to which n-grams are left out; the last one goes on.",
            show_default="0",
        ),
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(min=1, help="Only the N most frequent words.")] = None,
    limit_vocab: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only the words that stand first in a line of this file.")
    ] = None,
    words_out: Annotated[
        Path | None, typer.Option(help="Also write the model's words, most frequent first, as `lm attach` takes them.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Take words as they are, instead of normalising them as transcripts are.")
    ] = False,
    discount_fallback: Annotated[
        bool, typer.Option("--discount-fallback", help="Take fixed discounts where the text's counts give none.")
    ] = False,
) -> None:
    """Estimate an n-gram model (modified Kneser-Ney) of a text; words outside the vocabulary become <unk>."""
    with clear_errors():
        from training.arpa import write_arpa, write_words
        from training.ngram import NgramConfig, estimate
        from training.ngram_text import limit_vocabulary, read_text, read_word_list

        config = NgramConfig(order, tuple(prune or [0]), discount_fallback)
        allowed = read_word_list(limit_vocab, raw=raw) if limit_vocab is not None else None
        with progress_bar("reading") as advance:
            sentences = read_text(text, raw=raw, progress=advance)
        if allowed is not None or vocab_size is not None:
            sentences = limit_vocabulary(sentences, allowed=allowed, most_frequent=vocab_size)
        with progress_bar("estimating") as advance:
            model = estimate(sentences, config, progress=advance)
        with progress_bar("writing") as advance:
            write_arpa(model, out, progress=advance)
        words = sentences.by_frequency()
        if words_out is not None:
            write_words(words, words_out)
        sizes = ", ".join(f"{len(ngrams.last_G)} {at}-grams" for at, ngrams in enumerate(model.orders[1:], 2))
        typer.echo(f"{out}: {len(words)} words, {sizes}, of {sentences.n_words} running words")


@lm_app.command("attach")
def attach(
    bundle: Annotated[Path, typer.Argument(help="The bundle to add a language model to.")],
    model: Annotated[Path, typer.Argument(help="An n-gram model that KenLM reads: ARPA or binary.")],
    words: Annotated[Path, typer.Argument(help="The words that may be recognised, the first one of each line.")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the new bundle.", show_default="the old one's")] = None,
    lm_weight: Annotated[float, typer.Option(help="Weight of the model's log10 probability.")] = 1.5,
    word_bonus: Annotated[float, typer.Option(help="Added for every word.")] = 1.0,
    blank_penalty: Annotated[float, typer.Option(help="Taken from the blank's log-probability, in nats.")] = 0.0,
    boundary_penalty: Annotated[float, typer.Option(help="The same of the boundary between words.")] = 0.0,
    beam_size: Annotated[int, typer.Option(min=1, help="Beginnings kept at every frame.")] = 50,
    beam_units: Annotated[int, typer.Option(min=1, help="Best units of a frame that they go on with.")] = 12,
    beam_threshold: Annotated[float, typer.Option(help="Worse than the best by more than this, they are left.")] = 25.0,
    pronunciations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="How the words are spoken, as in CMUdict: search by sounds, with a phone head."
        ),
    ] = None,
    letter_to_sound: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With it: what pronounces hot words that are not among them.")
    ] = None,
    letter_weight: Annotated[float, typer.Option(help="With it: share of the letters in what is heard.")] = 0.3,
) -> None:
    """Write a bundle that decodes with a lexicon and a language model."""
    with clear_errors():
        from dataclasses import replace

        from model.checkpoint import load_bundle, save_bundle
        from model.errors import PronunciationError
        from model.language_model import BeamSearchConfig, LanguageModel
        from model.letter_to_sound import load_letter_to_sound
        from model.phones import parse_pronunciations
        from model.searches import make_search
        from training.ngram_text import first_words

        loaded = load_bundle(bundle)
        lexicon = first_words(words)
        search = BeamSearchConfig(
            lm_weight=lm_weight,
            word_bonus=word_bonus,
            blank_penalty=blank_penalty,
            boundary_penalty=boundary_penalty,
            beam_size=beam_size,
            beam_units=beam_units,
            beam_threshold=beam_threshold,
            letter_weight=letter_weight if pronunciations else 0.0,
        )
        spoken = {}
        if pronunciations is not None:
            try:
                known = parse_pronunciations(pronunciations.read_text(encoding="utf-8"))
            except (PronunciationError, UnicodeDecodeError) as error:
                raise PronunciationError(f"{pronunciations}, {error}") from error
            spoken = {word.lower(): known[word.lower()] for word in lexicon if word.lower() in known}
        whole = replace(
            loaded,
            name=name or loaded.name,
            language_model=LanguageModel(model, lexicon, search, spoken),
            letter_to_sound=load_letter_to_sound(letter_to_sound) if letter_to_sound else None,
        )
        make_search(whole)  # whatever is wrong with it is said now
        save_bundle(whole, out)
        without = len({word.lower() for word in lexicon}) - len(spoken) if pronunciations else 0
        missing = f", {without} of them without a pronunciation and therefore left out" if without else ""
        typer.echo(f"{out}: {len(lexicon)} words{missing}")


@lm_app.command("tune")
def tune(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a language model; it is rewritten with the best.")],
    manifest: Annotated[Path, typer.Option(help="The dev corpus.")],
    where: Annotated[list[str] | None, typer.Option(help="Keep only COLUMN=VALUE, as in `data prepare`.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every N-th utterance.")] = 1,
    lm_weight: Annotated[list[float] | None, typer.Option(help="A weight to try.", show_default="1 to 3")] = None,
    word_bonus: Annotated[list[float] | None, typer.Option(help="A bonus to try.", show_default="0 to 3")] = None,
    blank_penalty: Annotated[
        list[float] | None, typer.Option(help="A penalty to try, in nats.", show_default="the bundle's own")
    ] = None,
    boundary_penalty: Annotated[
        list[float] | None, typer.Option(help="The same for boundaries.", show_default="the bundle's own")
    ] = None,
    letter_weight: Annotated[
        list[float] | None, typer.Option(help="A share of the letters to try.", show_default="the bundle's own")
    ] = None,
) -> None:
    """Find the weight of the language model, the word bonus and the penalties with the fewest word errors."""
    with clear_errors():
        from dataclasses import replace

        from model.checkpoint import load_bundle, save_bundle
        from training.corpora import read_corpus
        from training.tune import tune as run

        loaded = load_bundle(bundle)
        utterances = read_corpus(manifest, where=conditions(where))[::every]
        with progress_bar("searching") as advance:
            trials = run(
                loaded,
                utterances,
                lm_weights=lm_weight or [1.0, 1.5, 2.0, 2.5, 3.0],
                word_bonuses=word_bonus or [0.0, 1.0, 2.0, 3.0],
                blank_penalties=blank_penalty,
                letter_weights=letter_weight,
                boundary_penalties=boundary_penalty,
                progress=advance,
            )
        for trial in trials:
            weights = f"--lm-weight {trial.search.lm_weight:g} --word-bonus {trial.search.word_bonus:g}"
            weights += f" --blank-penalty {trial.search.blank_penalty:g}"
            weights += f" --boundary-penalty {trial.search.boundary_penalty:g}"
            if loaded.language_model is not None and loaded.language_model.pronunciations:
                weights += f" --letter-weight {trial.search.letter_weight:g}"
            typer.echo(f"WER {trial.words.rate:.2%}  {weights}")
        assert loaded.language_model is not None
        best = replace(loaded.language_model, search=trials[0].search)
        save_bundle(replace(loaded, language_model=best), bundle)
