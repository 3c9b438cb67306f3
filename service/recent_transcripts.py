"""Answers remembered for a while, so that a client's retry is not worked on twice."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import BinaryIO

from model.transcript import Transcript


class RecentTranscripts:
    """The last transcripts by the hash of their audio (`digest`).

    Safe between threads. Holds no audio. Bounded by age, and by the seconds of audio that the transcripts stand for.

    Args:
        keep_s: how long one is kept, seconds; 0 keeps nothing.
        max_audio_s: most seconds of audio in total; the oldest go first.
    """

    def __init__(self, keep_s: float, max_audio_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._max_audio_s = max_audio_s
        self._clock = clock
        self._lock = threading.Lock()
        self._by_key: OrderedDict[bytes, tuple[float, Transcript]] = OrderedDict()

    def get(self, key: bytes) -> Transcript | None:
        """The transcript under `key`, unless it is too old."""
        with self._lock:
            self._forget()
            entry = self._by_key.get(key)
            return entry[1] if entry else None

    def put(self, key: bytes, transcript: Transcript) -> None:
        """Keep `transcript` under `key`."""
        with self._lock:
            self._by_key[key] = (self._clock(), transcript)
            self._by_key.move_to_end(key)
            self._forget()

    def _forget(self) -> None:
        oldest_s = self._clock() - self._keep_s
        audio_s = sum(transcript.duration_s for _, transcript in self._by_key.values())
        while self._by_key:
            kept_at_s, transcript = next(iter(self._by_key.values()))
            if kept_at_s > oldest_s and audio_s <= self._max_audio_s:
                return
            self._by_key.popitem(last=False)
            audio_s -= transcript.duration_s


def digest(file: BinaryIO, *options: object) -> bytes:
    """The hash of all bytes of a file, of which a megabyte at a time is in memory, and of the rest."""
    hashed = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        hashed.update(block)
    hashed.update(repr(options).encode(errors="backslashreplace"))
    return hashed.digest()
