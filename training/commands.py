"""`cepstra data`, `cepstra train` and `cepstra evaluate`: wiring only, with imports where a command needs them."""

import json
import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from features.errors import CepstraError
from model.runtime_names import RuntimeChoice
from model.shipped import SHIPPED_BUNDLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model.transcriber import Transcriber
    from training.corpora import Utterance
    from training.evaluate import Evaluation
    from training.history import Pass
    from training.recipe import Recipe

data_app = typer.Typer(help="Prepare corpora.", no_args_is_help=True)
lm_app = typer.Typer(help="Language models.", no_args_is_help=True)


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


@data_app.command("download")
def download(
    corpus: Annotated[Literal["mini_librispeech", "librispeech"], typer.Argument(help="What to download.")],
    parts: Annotated[
        str | None, typer.Option(help="Some of its parts, with commas: train-clean-100,dev-clean.", show_default="all")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder that gets a folder LibriSpeech.")] = Path("data"),
    base_url: Annotated[str | None, typer.Option(help="A mirror's /resources.", show_default="OpenSLR's own")] = None,
    keep_archives: Annotated[bool, typer.Option("--keep-archives", help="Do not delete what was unpacked.")] = False,
) -> None:
    """Download LibriSpeech, or the 5 hours of mini LibriSpeech; one that was interrupted goes on where it was.

    What is unpacked already is skipped, and nothing is unpacked whose checksum is not the published one.
    """
    with clear_errors():
        from training.download import download as run
        from training.librispeech import OPENSLR, find_parts, next_commands

        chosen = find_parts(corpus, parts.split(",") if parts is not None else None)
        folders = run(
            chosen, out, base_url=base_url or OPENSLR, keep_archives=keep_archives, progress=progress_in_bytes
        )
        typer.echo("\n".join([*map(str, folders), "", "next:"]))
        typer.echo("\n".join(f"  {command}" for command in next_commands(chosen, out)))


@data_app.command("prepare")
def prepare(
    source: Annotated[Path, typer.Argument(help="A LibriSpeech tree, a TSV manifest or a JSON-lines manifest.")],
    output: Annotated[Path, typer.Argument(help="The manifest to write (TSV).")],
    where: Annotated[
        list[str] | None,
        typer.Option(help="Keep only COLUMN=VALUE; for a tree, subset=NAME. Repeat it to ask for several things."),
    ] = None,
) -> None:
    """Read a corpus, decode every file once, and write a manifest with exact durations.

    Files that cannot be read are named and left out; past 1 % of them the corpus is refused.
    """
    from training.corpora import measure, read_corpus, write_manifest

    with clear_errors():
        utterances = read_corpus(source, where=_conditions(where))
        with progress_bar("reading") as advance:
            measured = measure(utterances, progress=advance)
        write_manifest(measured, output)
        hours = sum(utterance.duration_s for utterance in measured) / 3600
        speakers = len({utterance.speaker for utterance in measured})
        typer.echo(f"{output}: {len(measured)} utterances, {hours:.2f} h, {speakers} speakers")


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


@data_app.command("segment")
def segment(
    manifest: Annotated[Path, typer.Argument(help="The corpus: a manifest, or a LibriSpeech tree.")],
    output: Annotated[Path, typer.Argument(help="The manifest to write (TSV); the pieces lie beside it, in a folder.")],
    bundle: Annotated[
        Path, typer.Option(envvar="CEPSTRA_BUNDLE", help="The model that aligns text and audio.", show_default=False)
    ] = SHIPPED_BUNDLE,
    longest_s: Annotated[float, typer.Option(help="Longest piece, in seconds.")] = 8.0,
    where: Annotated[list[str] | None, typer.Option(help="Keep only COLUMN=VALUE, as in `prepare`.")] = None,
) -> None:
    """Cut long utterances at the speaker's pauses, where a forced alignment finds the words."""
    from model.transcriber import Transcriber
    from training.corpora import read_corpus, write_manifest
    from training.segment import segment as run

    with clear_errors():
        transcriber = Transcriber.from_bundle(bundle, greedy=True)
        utterances = read_corpus(manifest, where=_conditions(where))
        folder = output.with_suffix(".audio")
        with progress_bar("aligning") as advance:
            pieces = run(transcriber, utterances, folder, longest_s=longest_s, progress=advance)
        write_manifest(pieces, output)
        longest = max(piece.duration_s for piece in pieces)
        typer.echo(f"{output}: {len(pieces)} utterances of {len(utterances)}, the longest {longest:.1f} s")


@lm_app.command("attach")
def attach(
    bundle: Annotated[Path, typer.Argument(help="The bundle to add a language model to.")],
    model: Annotated[Path, typer.Argument(help="An n-gram model that KenLM reads: ARPA or binary.")],
    words: Annotated[Path, typer.Argument(help="The words that may be recognised, the first one of each line.")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the new bundle.", show_default="the old one's")] = None,
    lm_weight: Annotated[float, typer.Option(help="Weight of the model's log10 probability.")] = 1.5,
    word_bonus: Annotated[float, typer.Option(help="Added for every word.")] = 1.0,
    beam_size: Annotated[int, typer.Option(min=1, help="Beginnings kept at every frame.")] = 50,
) -> None:
    """Write a bundle that decodes with a lexicon and a language model."""
    with clear_errors():
        from dataclasses import replace

        from model.beam_search import BeamSearch
        from model.checkpoint import load_bundle, save_bundle
        from model.language_model import BeamSearchConfig, LanguageModel

        loaded = load_bundle(bundle)
        lexicon = tuple(line.split()[0] for line in words.read_text(encoding="utf-8").splitlines() if line.strip())
        search = BeamSearchConfig(lm_weight=lm_weight, word_bonus=word_bonus, beam_size=beam_size)
        language_model = LanguageModel(model, lexicon, search)
        BeamSearch(loaded.tokenizer, language_model)  # whatever is wrong with it is said now
        save_bundle(replace(loaded, name=name or loaded.name, language_model=language_model), out)
        typer.echo(f"{out}: {len(lexicon)} words")


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
) -> None:
    """Find the weight of the language model, the word bonus and the blank penalty with the fewest word errors."""
    with clear_errors():
        from dataclasses import replace

        from model.checkpoint import load_bundle, save_bundle
        from training.corpora import read_corpus
        from training.tune import tune as run

        loaded = load_bundle(bundle)
        utterances = read_corpus(manifest, where=_conditions(where))[::every]
        with progress_bar("searching") as advance:
            trials = run(
                loaded,
                utterances,
                lm_weights=lm_weight or [1.0, 1.5, 2.0, 2.5, 3.0],
                word_bonuses=word_bonus or [0.0, 1.0, 2.0, 3.0],
                blank_penalties=blank_penalty,
                progress=advance,
            )
        for trial in trials:
            weights = f"--lm-weight {trial.search.lm_weight:g} --word-bonus {trial.search.word_bonus:g}"
            weights += f" --blank-penalty {trial.search.blank_penalty:g}"
            typer.echo(f"WER {trial.words.rate:.2%}  {weights}")
        assert loaded.language_model is not None
        best = replace(loaded.language_model, search=trials[0].search)
        save_bundle(replace(loaded, language_model=best), bundle)


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe that comes with Cepstra, or a YAML file.")],
    train: Annotated[
        list[Path] | None, typer.Option(help="Training corpus instead of the recipe's; may be repeated.")
    ] = None,
    dev: Annotated[Path | None, typer.Option(help="Dev corpus instead of the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data instead of the recipe's.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder.", show_default="runs/<recipe name>")] = None,
    warm_start: Annotated[Path | None, typer.Option(help="Begin from this bundle's weights.")] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine that share every batch.")] = 1,
) -> None:
    """Train a recipe to its end; a run that was stopped, or killed, goes on where it was."""
    with clear_errors():
        from training.memory import keep_freed_memory

        keep_freed_memory()  # before torch is there
        from training.recipe import load_recipe
        from training.trainer import train as run

        loaded = _override(load_recipe(recipe), train, dev, epochs)
        bundle = run(
            loaded,
            out or Path("runs") / loaded.name,
            warm_start=warm_start,
            accelerator=accelerator,
            devices=devices,
        )
        typer.echo(str(bundle))


def evaluate(
    manifest: Annotated[Path, typer.Option(help="The corpus: TSV or JSON-lines manifest, or a LibriSpeech tree.")],
    bundle: Annotated[
        Path, typer.Option(envvar="CEPSTRA_BUNDLE", help="Directory of the model bundle.", show_default=False)
    ] = SHIPPED_BUNDLE,
    where: Annotated[list[str] | None, typer.Option(help="Keep only COLUMN=VALUE, as in `data prepare`.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Decode greedily, without a language model.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N utterances.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write DIR/report.html, a page with everything in it.")
    ] = None,
    worst: Annotated[
        int, typer.Option(min=0, help="Utterances that the report shows with their audio, the worst ones.")
    ] = 20,
    history: Annotated[
        Path | None,
        typer.Option(
            help="The run's history.jsonl, for the report's learning curves.", show_default="beside the bundle"
        ),
    ] = None,
    runtime: Annotated[
        Literal[RuntimeChoice, "all"],
        typer.Option(envvar="CEPSTRA_RUNTIME", help="What computes the acoustic model; all compares those there are."),
    ] = "auto",
    record: Annotated[
        bool,
        typer.Option("--record", help="With --runtime all: write into the bundle what each costs, for auto to go by."),
    ] = False,
) -> None:
    """Word and character error rate of a bundle on a corpus, through the same path that serves."""
    if runtime == "all" and report is not None:
        raise typer.BadParameter("a report is of one runtime, not of all", param_hint="--report")
    if record and runtime != "all":
        raise typer.BadParameter("what is recorded is the comparison of --runtime all", param_hint="--record")
    with clear_errors():
        from model.transcriber import Transcriber
        from training.corpora import read_corpus
        from training.evaluate import evaluate as run

        utterances = read_corpus(manifest, where=_conditions(where))
        if runtime == "all":
            _compare_runtimes(
                Transcriber.from_bundle(bundle, greedy=greedy, runtime="torch"),
                utterances,
                limit,
                json_out,
                (bundle, " ".join([manifest.name, *(where or [])]), greedy) if record else None,
            )
            return
        passes = _history(history, bundle) if report is not None else ()  # said now, not after an hour, if it is bad
        transcriber = Transcriber.from_bundle(bundle, greedy=greedy, runtime=runtime)
        with progress_bar("transcribing") as advance:
            result = run(transcriber, utterances, limit=limit, progress=advance)
        _print_table(transcriber.name, result)
        if json_out is not None:
            json_out.write_text(json.dumps(result.as_json(), indent=2) + "\n")
        if report is not None:
            from datetime import date

            from training.commit import git_commit
            from training.report import Subject, write_report

            part = f", first {limit} utterances" if limit is not None and limit < len(utterances) else ""
            corpus = " ".join([str(manifest), *(f"with {condition}" for condition in where or [])]) + part
            subject = Subject.of(transcriber, corpus=corpus, day=date.today(), commit=git_commit())
            typer.echo(str(write_report(result, subject, report, worst=worst, history=passes)))


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="The bundle; what is found is written into it.")],
    manifest: Annotated[Path, typer.Option(help="The dev corpus.")],
    where: Annotated[list[str] | None, typer.Option(help="Keep only COLUMN=VALUE, as in `data prepare`.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every N-th utterance.")] = 1,
) -> None:
    """Find out on speech of known text how sure the bundle's words are, so that confidences are probabilities."""
    with clear_errors():
        from dataclasses import replace

        from model.checkpoint import load_bundle, save_bundle
        from training.calibration import calibrate as run
        from training.corpora import read_corpus

        loaded = load_bundle(bundle)
        utterances = read_corpus(manifest, where=_conditions(where))[::every]
        with progress_bar("recognising") as advance:
            found = run(loaded, utterances, progress=advance)
        save_bundle(replace(loaded, confidence=found.config), bundle)
        for way, how in (("beam search", found.search), ("greedy", found.greedy)):
            if how is not None:
                typer.echo(
                    f"{way}: {how.words} words, {how.right:.1%} right; expected calibration error on speakers not "
                    f"fitted on: words {how.word_error:.1%} (uncalibrated {how.before:.1%}), "
                    f"segments {how.segment_error:.1%}; area under the ROC curve {how.ranking:.3f}"
                )


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


def _override(recipe: "Recipe", train: list[Path] | None, dev: Path | None, epochs: int | None) -> "Recipe":
    from dataclasses import replace

    data, optimizer = recipe.data, recipe.optimizer
    if train:
        data = replace(data, train=tuple(str(path) for path in train))
    if dev is not None:
        data = replace(data, dev=str(dev))
    if epochs is not None:
        optimizer = replace(optimizer, epochs=epochs)
    return replace(recipe, data=data, optimizer=optimizer)


def _conditions(where: list[str] | None) -> dict[str, str]:
    conditions = {}
    for condition in where or []:
        column, equals, value = condition.partition("=")
        if not equals or not column:
            raise typer.BadParameter(f"{condition!r} is not COLUMN=VALUE", param_hint="--where")
        conditions[column] = value
    return conditions


def _history(named: Path | None, bundle: Path) -> "tuple[Pass, ...]":
    """The passes of the run: of the file that was named, or of the one beside the bundle, if there is one."""
    from training.history import HISTORY_FILE, read_history

    beside = bundle.resolve().parent / HISTORY_FILE
    if named is None and not beside.is_file():
        return ()
    return read_history(named or beside)


def _compare_runtimes(
    transcriber: "Transcriber",
    utterances: "list[Utterance]",
    limit: int | None,
    json_out: Path | None,
    record: tuple[Path, str, bool] | None,
) -> None:
    """Print, and write where it is asked for, what each runtime costs; `record`: bundle, corpus, and whether greedy."""
    from training.runtimes import evaluate_runtimes, record_runtimes

    with progress_bar("transcribing") as advance:
        results = evaluate_runtimes(transcriber, utterances, limit=limit, progress=advance)
    typer.echo(f"{'runtime':12} {'WER':>8} {'lost':>8} {'CER':>8} {'× real time':>12}")
    for name, result in results.items():
        lost = 100 * (result.wer - results["torch"].wer)
        speed = 1 / max(result.rtf, 1e-9)
        typer.echo(f"{name:12} {result.wer:8.2%} {lost:+8.2f} {result.cer:8.2%} {speed:12.0f}")
    if json_out is not None:
        json_out.write_text(json.dumps({name: result.as_json() for name, result in results.items()}, indent=2) + "\n")
    if record is not None:
        bundle, corpus, greedy = record
        record_runtimes(bundle, results, corpus=corpus, greedy=greedy)


def _print_table(name: str, result: "Evaluation") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}: {len(result.results)} utterances, {result.audio_s / 3600:.2f} h")
    for column in ("", "rate", "substitutions", "deletions", "insertions", "reference"):
        table.add_column(column, justify="right")
    for label, counts in (("words (WER)", result.words), ("characters (CER)", result.characters)):
        numbers = (counts.substitutions, counts.deletions, counts.insertions, counts.reference_units)
        table.add_row(label, f"{counts.rate:.2%}", *map(str, numbers))
    Console().print(table)
    typer.echo(f"RTF {result.rtf:.4f}: {1 / max(result.rtf, 1e-9):.0f} × real time")
