"""`cepstra transcribe` and `cepstra listen`: wiring only, with imports where a command needs them."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from model.hot_words import DEFAULT_BOOST, LARGEST_BOOST, HotWords
from model.runtime_names import RuntimeChoice
from model.shipped import SHIPPED_BUNDLE
from model.transcript import MOST_ALTERNATIVES
from service.command_options import fail, option

_HotWords = Annotated[
    list[str] | None,
    typer.Option(help="A word or name to prefer, also if the lexicon lacks it; can be given several times."),
]
_HotWordBoost = Annotated[float, typer.Option(help=f"How much hot words are preferred, 0 to {LARGEST_BOOST:g}.")]


def transcribe(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Audio files; - reads standard input.")],
    response_format: Annotated[
        Literal["text", "json", "verbose_json", "srt", "vtt"], typer.Option("--format", help="Shape of the output.")
    ] = "text",
    bundle: Annotated[
        Path, option("BUNDLE", "Directory of the model bundle.", show_default="bundles/cepstra-base beside cli.py")
    ] = SHIPPED_BUNDLE,
    threads: Annotated[int | None, option("THREADS", "CPU threads to use; unset leaves it to PyTorch.", min_=1)] = None,
    runtime: Annotated[RuntimeChoice, option("RUNTIME", "What computes the acoustic model.")] = "auto",
    hot_word: _HotWords = None,
    hot_word_boost: _HotWordBoost = DEFAULT_BOOST,
    format_text: Annotated[
        bool, typer.Option("--format-text", help="Sentence case, and numbers, dates and money in digits.")
    ] = False,
    alternatives: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_ALTERNATIVES, help="With verbose_json: what else may have been said, for each word."
        ),
    ] = 0,
) -> None:
    """Transcribe audio files: transcripts to standard output, all else to standard error.

    Several files are worked on at the same time, on all processors; their transcripts come in the order of the files.
    With several files, text gives one line for each, its name and a tab first; json and verbose_json give one object
    for each, on a line of its own, its name under "file"; srt and vtt take a single file.

    A file that cannot be transcribed is named on standard error, the others are done all the same, and the exit
    status is 1.
    """
    if len(files) > 1 and response_format in ("srt", "vtt"):
        fail(f"--format {response_format} takes a single file; {len(files)} are given", status=2)

    if alternatives and response_format != "verbose_json":
        fail(f"--alternatives goes with --format verbose_json; it is {response_format}", status=2)

    from features.errors import CepstraError
    from model.transcriber import Transcriber
    from service.files import STDIN, transcribe_files

    if STDIN in files and sys.stdin is None:
        fail(f"{STDIN} is standard input, which is closed", status=2)
    try:
        hot_words = HotWords(tuple(hot_word), hot_word_boost) if hot_word else None
        transcriber = Transcriber.from_bundle(bundle, threads=threads, runtime=runtime)
        well = transcribe_files(
            transcriber, files, response_format, hot_words, alternatives=alternatives, format_text=format_text
        )
    except CepstraError as error:
        fail(str(error))
    raise typer.Exit(0 if well else 1)


def listen(
    rate: Annotated[int, typer.Option("--rate", help="Sample rate, hertz: 8000 to 192000.")] = 16_000,
    microphone: Annotated[
        bool, typer.Option("--microphone", help="Hear a microphone instead of standard input; Ctrl-C ends it.")
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Which microphone: a part of its name, or its number.")
    ] = None,
    right_s: Annotated[
        float,
        typer.Option("--right-context", help="Seconds of audio after a word before it can be certain: 0 to 4."),
    ] = 1.0,
    hot_word: _HotWords = None,
    hot_word_boost: _HotWordBoost = DEFAULT_BOOST,
    bundle: Annotated[
        Path, option("BUNDLE", "Directory of the model bundle.", show_default="bundles/cepstra-base beside cli.py")
    ] = SHIPPED_BUNDLE,
    threads: Annotated[int | None, option("THREADS", "CPU threads to use; unset leaves it to PyTorch.", min_=1)] = None,
) -> None:
    """Transcribe while somebody speaks: raw mono PCM, signed 16 bits, little-endian, on standard input.

    Each utterance is a line on standard output as soon as it is over; on a terminal, what is heard meanwhile is shown
    on standard error. For example: arecord -q -f S16_LE -r 16000 -c 1 | cepstra listen
    """
    if device is not None and not microphone:
        fail("--device names a microphone; it goes with --microphone", status=2)
    if not microphone and (sys.stdin is None or sys.stdin.isatty()):
        fail("nothing is piped in; pipe raw PCM16 audio to standard input, or use --microphone", status=2)

    from features.errors import CepstraError
    from model.streaming import StreamingConfig
    from model.transcriber import Transcriber
    from service.listen import listen as run_listener
    from service.listen import microphone_blocks, pipe_blocks

    try:
        config = StreamingConfig(right_s=right_s)
        transcriber = Transcriber.from_bundle(bundle, threads=threads, runtime="torch")
        hot_words = HotWords(tuple(hot_word), hot_word_boost) if hot_word else None
        session = transcriber.stream(sample_rate_hz=rate, config=config, hot_words=hot_words)
        blocks = microphone_blocks(rate, device) if microphone else pipe_blocks(sys.stdin.buffer)
        run_listener(session, blocks, out=sys.stdout, screen=sys.stderr)
    except CepstraError as error:
        fail(str(error))
