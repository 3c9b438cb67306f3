"""Answers remembered for a while, so that a client's retry is not worked on twice."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from model.transcript import Segment, Transcript


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
        self._by_key: OrderedDict[bytes, tuple[float, Transcript, int]] = OrderedDict()

    def get(self, key: bytes, alternatives: int = 0) -> Transcript | None:
        """The transcript under `key`, unless it is too old or was kept with fewer alternatives of a word than these."""
        with self._lock:
            self._forget()
            entry = self._by_key.get(key)
        if entry is None or entry[2] < alternatives:
            return None
        return entry[1] if entry[2] == alternatives else with_fewer_alternatives(entry[1], alternatives)

    def put(self, key: bytes, transcript: Transcript, alternatives: int = 0) -> None:
        """Keep `transcript`, which was made with so many alternatives of a word, under `key`."""
        with self._lock:
            self._by_key[key] = (self._clock(), transcript, alternatives)
            self._by_key.move_to_end(key)
            self._forget()

    def _forget(self) -> None:
        oldest_s = self._clock() - self._keep_s
        audio_s = sum(transcript.duration_s for _, transcript, _ in self._by_key.values())
        while self._by_key:
            kept_at_s, transcript, _ = next(iter(self._by_key.values()))
            if kept_at_s > oldest_s and audio_s <= self._max_audio_s:
                return
            self._by_key.popitem(last=False)
            audio_s -= transcript.duration_s


def with_fewer_alternatives(transcript: Transcript, most: int) -> Transcript:
    """The same transcript as if so many alternatives of a word had been asked for."""

    def fewer(segment: Segment) -> Segment:
        words = (replace(word, alternatives=word.alternatives[:most]) for word in segment.words)
        return replace(segment, words=tuple(words))

    return replace(transcript, segments=tuple(map(fewer, transcript.segments)))


def digest(file: BinaryIO, *options: object) -> bytes:
    """The hash of all bytes of a file, of which a megabyte at a time is in memory, and of the rest."""
    hashed = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        hashed.update(block)
    hashed.update(repr(options).encode(errors="backslashreplace"))
    return hashed.digest()
