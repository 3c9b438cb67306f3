"""`cepstra data`: wiring only, as in `training.commands`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from model.runtime_names import RuntimeChoice
from model.shipped import SHIPPED_BUNDLE
from training.terminal import clear_errors, conditions, progress_bar, progress_in_bytes

data_app = typer.Typer(help="Prepare corpora.", no_args_is_help=True)


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
        utterances = read_corpus(source, where=conditions(where))
        with progress_bar("reading") as advance:
            measured = measure(utterances, progress=advance)
        write_manifest(measured, output)
        hours = sum(utterance.duration_s for utterance in measured) / 3600
        speakers = len({utterance.speaker for utterance in measured})
        typer.echo(f"{output}: {len(measured)} utterances, {hours:.2f} h, {speakers} speakers")


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
        utterances = read_corpus(manifest, where=conditions(where))
        folder = output.with_suffix(".audio")
        with progress_bar("aligning") as advance:
            pieces = run(transcriber, utterances, folder, longest_s=longest_s, progress=advance)
        write_manifest(pieces, output)
        longest = max(piece.duration_s for piece in pieces)
        typer.echo(f"{output}: {len(pieces)} utterances of {len(utterances)}, the longest {longest:.1f} s")


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

        chosen = balanced_subset(read_corpus(manifest, where=conditions(where)), hours, seed=seed)
        write_manifest(chosen, output)
        taken_h = sum(utterance.duration_s for utterance in chosen) / 3600
        speakers = len({utterance.speaker for utterance in chosen})
        typer.echo(f"{output}: {len(chosen)} utterances, {taken_h:.2f} h, {speakers} speakers")


@data_app.command("encode")
def encode(
    manifest: Annotated[Path, typer.Argument(help="The corpus: a manifest, or a LibriSpeech tree.")],
    output: Annotated[Path, typer.Argument(help="The manifest to write (TSV); the audio lies beside it, in a folder.")],
    codec: Annotated[Literal["mp3", "opus"], typer.Option(help="What it goes through.")] = "mp3",
    kbps: Annotated[
        list[int] | None, typer.Option(help="Bit rate, kbit/s; of several, one is drawn.", show_default="24")
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the utterances that is encoded, 0 to 1.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of which are encoded, and how.")] = 1,
    where: Annotated[list[str] | None, typer.Option(help="Keep only COLUMN=VALUE, as in `prepare`.")] = None,
) -> None:
    """Put some of a corpus through a lossy codec, once; the others are in the manifest as they are."""
    with clear_errors():
        from training.corpora import read_corpus, write_manifest
        from training.recode import recode_corpus

        utterances = read_corpus(manifest, where=conditions(where))
        folder = output.with_suffix(".audio")
        with progress_bar("encoding") as advance:
            recoded = recode_corpus(
                utterances, folder, codec=codec, kbps=kbps or [24], share=share, seed=seed, progress=advance
            )
        write_manifest(recoded, output)
        encoded = sum(utterance.path.parent == folder for utterance in recoded)
        typer.echo(f"{output}: {len(recoded)} utterances, {encoded} of them as {codec}")


@data_app.command("synthesise")
def synthesise(
    texts: Annotated[
        Path, typer.Argument(help="What is said: a corpus's transcripts, or a text with a sentence a line.")
    ],
    output: Annotated[Path, typer.Argument(help="The manifest to write (TSV); the audio lies beside it, in a folder.")],
    hours: Annotated[float, typer.Option(help="Hours of speech.")] = 2.0,
    limit_vocab: Annotated[
        Path | None, typer.Option(help="Only sentences whose words stand first in a line of this file.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of texts, voices, pace and pitch.")] = 1,
) -> None:
    """Have espeak-ng and flite say sentences, as training speech; a run that was stopped goes on.

    A text is plain or packed as .gz, .bz2 or .xz, and its sentences are cut to stretches of 5 to 15 words; transcripts
    of a corpus (.tsv, .json, a tree) are said as they are.
    """
    with clear_errors():
        from training.corpora import normalize_transcript, read_corpus, write_manifest
        from training.ngram_text import read_text, read_word_list
        from training.synthesise import choose_sentences, speak_by_program
        from training.synthesise import synthesise as run

        allowed = read_word_list(limit_vocab) if limit_vocab is not None else None
        if texts.is_dir() or texts.suffix in (".tsv", ".json", ".jsonl", ".ndjson"):
            spoken = [normalize_transcript(utterance.transcript) for utterance in read_corpus(texts)]
            chosen = [text for text in spoken if allowed is None or allowed.issuperset(text.split())]
        else:
            chosen = choose_sentences(read_text([texts]).sentences(), allowed=allowed, seed=seed)
        folder, utterances, spoken_s = output.with_suffix(".audio"), [], 0.0
        with progress_bar("speaking") as advance:
            for utterance in run(chosen, folder, hours, speak_by_program, seed=seed):
                utterances.append(utterance)
                spoken_s += utterance.duration_s
                advance(min(round(spoken_s), round(3600 * hours)), round(3600 * hours))
        write_manifest(utterances, output)
        voices = len({utterance.speaker for utterance in utterances})
        typer.echo(f"{output}: {len(utterances)} utterances, {spoken_s / 3600:.2f} h, {voices} voices")


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

        utterances = read_corpus(manifest, where=conditions(where), transcribed=False)
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
