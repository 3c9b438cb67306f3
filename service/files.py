"""Files named on the command line become transcripts on standard output: what `cepstra transcribe` does."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from features.errors import CepstraError
from model.hot_words import HotWords
from model.text_format import format_transcript
from model.transcript import Transcript
from service.formats import ResponseFormat, render, to_json, to_line, to_verbose_json
from service.recogniser import Progress as Report
from service.recogniser import Recogniser

STDIN = "-"


def transcribe_files(
    recogniser: Recogniser,
    files: Sequence[str],
    response_format: ResponseFormat,
    hot_words: HotWords | None = None,
    *,
    alternatives: int = 0,
    format_text: bool = False,
) -> bool:
    """Transcribe one file after the other.

    Args:
        recogniser: the model.
        files: paths; `-` is standard input.
        response_format: how transcripts are written; `srt` and `vtt` are for a single file.
        hot_words: what is preferred.
        alternatives: how many are given with each word, at most.
        format_text: write numbers in digits and sentences with a capital (`model.text_format`).

    Returns:
        Whether all went well. A file that did not is named on standard error, and the others are done all the same.
    """
    all_well = True
    several = len(files) > 1
    for number, name in enumerate(files, start=1):
        try:
            with _progress(f"[{number}/{len(files)}] {name}" if several else name) as report:
                audio = sys.stdin.buffer.read() if name == STDIN else Path(name)
                transcript = recogniser.transcribe(
                    audio, progress=report, hot_words=hot_words, alternatives=alternatives
                )
            if format_text:
                transcript = format_transcript(transcript, hot_words)
        except (CepstraError, OSError) as error:
            print(f"cepstra: {name}: {_reason(error)}", file=sys.stderr, flush=True)
            all_well = False
        else:
            sys.stdout.write(_written(transcript, response_format, name if several else None))
            sys.stdout.flush()
    return all_well


def _written(transcript: Transcript, response_format: ResponseFormat, name: str | None) -> str:
    """A transcript as it goes to standard output; with a name where it is one of several."""
    if response_format == "text":
        return f"{name}\t{transcript.text}\n" if name else f"{transcript.text}\n"
    if response_format == "json":
        answer = to_json(transcript)
    elif response_format == "verbose_json":
        answer = to_verbose_json(transcript, ("segment", "word"))
    else:
        return render(transcript, response_format)
    return to_line({"file": name, **answer} if name else answer) + "\n"


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


@contextmanager
def _progress(name: str) -> Iterator[Report]:
    """A bar on standard error where that is a terminal, else one plain line for the file."""
    console = Console(stderr=True)
    if not console.is_terminal:
        print(name, file=sys.stderr, flush=True)
        yield lambda _: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(escape(name), total=1.0)
        yield lambda share: bars.update(task, completed=share)
