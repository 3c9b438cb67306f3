"""Files named on the command line become transcripts on standard output: what `cepstra transcribe` does."""

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from features.errors import CepstraError
from model.hot_words import HotWords
from model.text_format import format_transcript
from model.transcript import Transcript
from service.formats import ResponseFormat, render, to_json, to_line, to_verbose_json
from service.output import write_out
from service.recogniser import Progress as Report

if TYPE_CHECKING:
    from model.transcriber import Transcriber  # torch takes a second

STDIN = "-"


def transcribe_files(
    transcriber: "Transcriber",
    files: Sequence[str],
    response_format: ResponseFormat,
    hot_words: HotWords | None = None,
    *,
    alternatives: int = 0,
    format_text: bool = False,
) -> bool:
    """Transcribe files, several at the same time; transcripts are written in the order of the files.

    Args:
        transcriber: the model.
        files: paths; `-` is standard input.
        response_format: how transcripts are written; `srt` and `vtt` are for a single file.
        hot_words: what is preferred.
        alternatives: how many are given with each word, at most.
        format_text: write numbers in digits and sentences with a capital (`model.text_format`).

    Returns:
        Whether all went well. A file that did not is named on standard error, and the others are done all the same.

    Raises:
        OutputError: standard output cannot be written.
    """
    all_well = True
    several = len(files) > 1
    results = _many if several else _one
    with closing(results(transcriber, files, hot_words, alternatives)) as transcripts:
        for name, result in zip(files, transcripts, strict=True):
            if isinstance(result, CepstraError | OSError):
                print(f"cepstra: {name}: {_reason(result)}", file=sys.stderr, flush=True)
                all_well = False
                continue
            if isinstance(result, Exception):
                raise result
            transcript = format_transcript(result, hot_words) if format_text else result
            write_out(_written(transcript, response_format, _as_text(name) if several else None), sys.stdout)
    return all_well


Results = Generator[Transcript | Exception, None, None]


def _one(transcriber: "Transcriber", files: Sequence[str], hot_words: HotWords | None, alternatives: int) -> Results:
    """The transcript of a single file, with a bar that follows the work."""
    (name,) = files
    result: Transcript | Exception
    try:
        with _progress(name) as report:
            result = transcriber.transcribe(
                _audio(name), progress=report, hot_words=hot_words, alternatives=alternatives
            )
    except (CepstraError, OSError) as error:
        result = error
    yield result


def _many(transcriber: "Transcriber", files: Sequence[str], hot_words: HotWords | None, alternatives: int) -> Results:
    """The transcripts of several, with a bar that counts them."""
    from model.bulk import transcribe_many  # torch takes a second

    audios = (_audio(name) for name in files)
    results = transcribe_many(transcriber, audios, hot_words=hot_words, alternatives=alternatives)
    with closing(results):
        for number, name in enumerate(files, start=1):
            with _progress(f"[{number}/{len(files)}] {name}") as report:
                report((number - 1) / len(files))
                result = next(results)
            yield result


def _audio(name: str) -> bytes | Path:
    return sys.stdin.buffer.read() if name == STDIN else Path(name)


def _as_text(name: str) -> str:
    """A file's name with � where its bytes are no UTF-8: no text can hold those."""
    return os.fsencode(name).decode("utf-8", "replace")


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
