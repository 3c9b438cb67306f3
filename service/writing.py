"""Answers are written where they stop nobody: those about hours of audio take a second."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from model.transcript import Transcript

T = TypeVar("T")

LONG_S = 60.0  # of audio, about which the longest answer takes some 10 ms to write
# Threads of their own: those that all others share may be waiting for a database that is away.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="write")


async def written(transcript: Transcript, write: Callable[[], T]) -> T:
    """What `write` makes of the transcript: at once where that is short, else in a thread."""
    if transcript.duration_s < LONG_S:
        return write()
    return await asyncio.get_running_loop().run_in_executor(_THREADS, write)
