"""Transcripts on standard output, where the disk may be full."""

import os
from typing import TextIO

from features.errors import CepstraError


class OutputError(CepstraError):
    """Standard output cannot be written."""


def write_out(text: str, out: TextIO) -> None:
    """Write `text` at once.

    Raises:
        OutputError: it cannot be written.
        BrokenPipeError: nobody reads any more, which ends a command in silence.
    """
    try:
        out.write(text)
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is still in the buffer would be written, and fail, once more at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)
        raise OutputError(f"standard output cannot be written: {error.strerror or error}") from error
