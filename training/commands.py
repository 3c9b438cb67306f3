"""`cepstra train`, `evaluate` and `calibrate`: wiring only, with imports where a command needs them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from model.runtime_names import RuntimeChoice
from model.shipped import SHIPPED_BUNDLE
from training.terminal import clear_errors, conditions, progress_bar

if TYPE_CHECKING:
    from model.transcriber import Transcriber
    from training.corpora import Utterance
    from training.evaluate import Evaluation
    from training.history import Pass
    from training.recipe import Recipe


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
        from training.whole_files import store_file

        utterances = read_corpus(manifest, where=conditions(where))
        for folder in (json_out and json_out.parent, report):  # if one cannot be, that is said now, not after an hour
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
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
            store_file(json_out, (json.dumps(result.as_json(), indent=2) + "\n").encode())
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
    live_every: Annotated[
        int, typer.Option(min=1, help="Hear every N-th of those live too, which is most of the work.")
    ] = 4,
) -> None:
    """Find out on speech of known text how sure the bundle's words are, so that confidences are probabilities.

    Words of streams get weights of their own: they are heard with less context.
    """
    with clear_errors():
        from dataclasses import replace

        from model.checkpoint import load_bundle, save_bundle
        from training.calibration import calibrate as run
        from training.corpora import read_corpus

        loaded = load_bundle(bundle)
        utterances = read_corpus(manifest, where=conditions(where))[::every]
        with progress_bar("recognising") as advance:
            found = run(loaded, utterances, live_every=live_every, progress=advance)
        save_bundle(replace(loaded, confidence=found.config), bundle)
        for way, before, how in (
            ("beam search", "uncalibrated", found.search),
            ("greedy", "uncalibrated", found.greedy),
            ("live beam search", "with the weights above", found.live_search),
            ("live greedy", "with the weights above", found.live_greedy),
        ):
            if how is not None:
                typer.echo(
                    f"{way}: {how.words} words, {how.right:.1%} right; expected calibration error on speakers not "
                    f"fitted on: words {how.word_error:.1%} ({before} {how.before:.1%}, chance alone "
                    f"{how.chance:.1%}), segments {how.segment_error:.1%}; area under the ROC curve {how.ranking:.3f}"
                )


def pack(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    out: Annotated[Path, typer.Option(help="The bundle to write; the same one to rewrite it.")],
    weights: Annotated[
        Literal["float32", "float16", "int8"], typer.Option(help="How the acoustic model's weights are stored.")
    ] = "int8",
) -> None:
    """Store a bundle's weights in half of the bytes, or in more."""
    with clear_errors():
        from dataclasses import replace

        from model.checkpoint import WEIGHTS_FILE, load_bundle, save_bundle

        loaded = load_bundle(bundle)
        before = (bundle / WEIGHTS_FILE).stat().st_size
        save_bundle(replace(loaded, weight_format=weights), out)
        after = (out / WEIGHTS_FILE).stat().st_size
        typer.echo(f"{out}: {before / 1e6:.1f} MB of weights before, {after / 1e6:.1f} MB now")


def average(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    other: Annotated[Path, typer.Argument(help="Another one of the same ancestry: trained on, or trained on from it.")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    share: Annotated[float, typer.Option(help="Share of the first one's weights, 0 to 1.")] = 0.5,
) -> None:
    """Average the weights of two bundles, one of which was trained on from the other; all else is the first one's."""
    with clear_errors():
        from model.averaging import average_bundles
        from model.checkpoint import load_bundle, save_bundle

        save_bundle(average_bundles(load_bundle(bundle), load_bundle(other), share), out)
        typer.echo(f"{out}: {share:g} of {bundle}, {1 - share:g} of {other}; tune-rejection and calibrate come next")


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
    from training.whole_files import store_file

    with progress_bar("transcribing") as advance:
        results = evaluate_runtimes(transcriber, utterances, limit=limit, progress=advance)
    typer.echo(f"{'runtime':12} {'WER':>8} {'lost':>8} {'CER':>8} {'× real time':>12}")
    for name, result in results.items():
        lost = 100 * (result.wer - results["torch"].wer)
        speed = 1 / max(result.rtf, 1e-9)
        typer.echo(f"{name:12} {result.wer:8.2%} {lost:+8.2f} {result.cer:8.2%} {speed:12.0f}")
    if json_out is not None:
        numbers = {name: result.as_json() for name, result in results.items()}
        store_file(json_out, (json.dumps(numbers, indent=2) + "\n").encode())
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
