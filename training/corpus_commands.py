"""`cepstra data subset` and `pseudo-label`: wiring only, as in `training.commands`."""

from pathlib import Path
from typing import Annotated

import typer

from model.runtime_names import RuntimeChoice
from model.shipped import SHIPPED_BUNDLE
from training.commands import _conditions, clear_errors, data_app, progress_bar

__all__ = ["data_app"]


@data_app.command("subset")
def subset(
    manifest: Annotated[Path, typer.Argument(help="The corpus: a manifest with durations.")],
    output: Annotated[Path, typer.Argument(help="The manifest to write (TSV).")],
    hours: Annotated[float, typer.Option(help="Hours of speech to take.")],
    seed: Annotated[int, typer.Option(help="Of the draw; the same seed takes the same utterances.")] = 1,
    where: Annotated[list[str] | None, typer.Option(help="Keep only COLUMN=VALUE, as in `prepare`.")] = None,
) -> None:
    """Take some hours of a corpus in which every speaker has the same share, as far as they have so much."""
    with clear_errors():
        from training.corpora import read_corpus, write_manifest
        from training.subset import balanced_subset

        chosen = balanced_subset(read_corpus(manifest, where=_conditions(where)), hours, seed=seed)
        write_manifest(chosen, output)
        taken_h = sum(utterance.duration_s for utterance in chosen) / 3600
        speakers = len({utterance.speaker for utterance in chosen})
        typer.echo(f"{output}: {len(chosen)} utterances, {taken_h:.2f} h, {speakers} speakers")


@data_app.command("pseudo-label")
def pseudo_label(
    manifest: Annotated[Path, typer.Argument(help="Speech without transcripts: a manifest in which path is enough.")],
    output: Annotated[Path, typer.Argument(help="The manifest to write (TSV).")],
    bundle: Annotated[
        Path, typer.Option(envvar="CEPSTRA_BUNDLE", help="The model that listens.", show_default=False)
    ] = SHIPPED_BUNDLE,
    most_disagreement: Annotated[
        float, typer.Option(help="Most character errors of the greedy text against the language model's, as a share.")
    ] = 0.2,
    least_words: Annotated[int, typer.Option(help="Least words of an utterance.")] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads.", show_default="as many as torch uses")
    ] = None,
    runtime: Annotated[
        RuntimeChoice, typer.Option(envvar="CEPSTRA_RUNTIME", help="What computes the acoustic model.")
    ] = "auto",
    where: Annotated[list[str] | None, typer.Option(help="Keep only COLUMN=VALUE, as in `prepare`.")] = None,
) -> None:
    """Transcribe untranscribed speech, and keep what the network alone and with its language model agree on."""
    with clear_errors():
        from model.transcriber import Transcriber
        from training.corpora import read_corpus, write_manifest
        from training.pseudo_labels import choose
        from training.pseudo_labels import pseudo_label as run

        utterances = read_corpus(manifest, where=_conditions(where), transcribed=False)
        led = Transcriber.from_bundle(bundle, threads=threads, runtime=runtime)
        greedy = Transcriber(led.bundle, greedy=True, runtime=led.runtime)
        choose([], most_disagreement=most_disagreement, least_words=least_words)  # what is wrong with them is said now
        with progress_bar("transcribing") as advance:
            labels = run(led, greedy, utterances, threads=threads, progress=advance)
        kept = choose(labels, most_disagreement=most_disagreement, least_words=least_words)
        write_manifest(kept, output)
        kept_h, all_h = (
            sum(utterance.duration_s for utterance in some) / 3600
            for some in (kept, [label.utterance for label in labels])
        )
        typer.echo(f"{output}: {len(kept)} of {len(labels)} utterances, {kept_h:.2f} of {all_h:.2f} h")
