"""A model that says what it is told, so that tests of the service know every word of the answer."""

import io
import math
import os
import struct
import threading
import wave
from collections.abc import Callable, Sequence

import numpy as np

from features.audio import Waveform, decode_audio
from features.audio_stream import AudioStream
from model.cancellation import CancelToken
from model.errors import AlternativesError, HotWordError
from model.hot_words import HotWords
from model.stream_events import Final, Partial, StreamEvent
from model.streaming import StreamingConfig
from model.transcript import Alternative, Segment, Token, Transcript, Word

SENTENCES = (
    "he hoped there would be stew for dinner",
    "turnips and carrots and bruised potatoes",
    "and fat mutton pieces",
)
TEXT = " ".join(SENTENCES)
OTHERS = (Alternative("hop", 0.25), Alternative("", 0.1))  # what else the doubtful words may have been
UNSPEAKABLE = "R2D2"  # a hot word that the fake cannot spell


class FakeTranscriber:
    """Decodes the audio as the real one does and then hears `SENTENCES`, or nothing where all is silent.

    `hold()` makes every call wait, reporting progress, until `release()`.
    """

    name = "fake-base"
    created_at = 1_700_000_000

    def __init__(self) -> None:
        self.calls = 0
        self.running = 0
        self.feeds = 0  # pieces that sessions have begun to hear
        self.error: Exception | None = None
        self.hot_words: HotWords | None = None
        self.alternatives = 0  # that were asked for
        self.greedy = False  # whether it knows of no alternatives
        self._go = threading.Event()
        self._go.set()
        self._lock = threading.Lock()

    def hold(self) -> None:
        self._go.clear()

    def release(self) -> None:
        self._go.set()

    def transcribe(
        self,
        audio: bytes | str | os.PathLike[str] | AudioStream,
        *,
        progress: Callable[[float], None] | None = None,
        cancelled: CancelToken | None = None,
        hot_words: HotWords | None = None,
        alternatives: int = 0,
    ) -> Transcript:
        if alternatives and self.greedy:
            raise AlternativesError("decoded greedily")
        self.alternatives = alternatives
        self.hot_words = hot_words
        if isinstance(audio, bytes | str | os.PathLike):
            waveform = decode_audio(audio)
        else:
            waveform = Waveform(np.concatenate(list(audio)))
        if not waveform.samples_N.any():
            return Transcript("", (), waveform.duration_s)
        with self._lock:
            self.calls += 1
            self.running += 1
        try:
            while not self._go.wait(0.02):
                if progress:
                    progress(0.5)
            if self.error:
                raise self.error
            return transcript_of(SENTENCES, waveform.duration_s, alternatives)
        finally:
            with self._lock:
                self.running -= 1

    def stream(
        self, *, sample_rate_hz: int, config: StreamingConfig | None = None, hot_words: HotWords | None = None
    ) -> "FakeSession":
        if hot_words and UNSPEAKABLE in hot_words.terms:
            raise HotWordError(f"the hot word '{UNSPEAKABLE}' has '2', which the model cannot spell")
        self.hot_words = hot_words
        return FakeSession(self, sample_rate_hz, config)

    def wait(self) -> None:
        """Where it is held."""
        while not self._go.wait(0.02):
            pass
        if self.error:
            raise self.error


class FakeSession:
    """Hears a word of `SENTENCES` in every half second of sound, after the next half; silence ends a sentence."""

    def __init__(self, fake: FakeTranscriber, rate_hz: int, config: StreamingConfig | None) -> None:
        self.rate_hz, self.config = rate_hz, config or StreamingConfig()
        self._fake = fake
        self._half = rate_hz // 2
        self._rest_N = np.zeros(0, np.float32)
        self._halves = 0
        self._words: list[Word] = []
        self._utterance = 0

    def feed(self, samples_N: np.ndarray) -> list[StreamEvent]:
        self._fake.feeds += 1
        self._fake.wait()
        self._rest_N = np.concatenate([self._rest_N, samples_N])
        events: list[StreamEvent] = []
        while len(self._rest_N) >= self._half:
            events += self._hear(bool(self._rest_N[: self._half].any()))
            self._rest_N = self._rest_N[self._half :]
        return events

    def flush(self) -> list[StreamEvent]:
        events = self._end()
        self._rest_N, self._halves, self._utterance = self._rest_N[:0], 0, 0
        return events

    def _hear(self, sound: bool) -> list[StreamEvent]:
        begin_s, self._halves = self._halves / 2, self._halves + 1
        if not sound:
            return self._end()
        sentence = SENTENCES[self._utterance % len(SENTENCES)].split()
        text = sentence[len(self._words) % len(sentence)]
        self._words.append(Word(text, begin_s, begin_s + 0.4, 0.75))
        return [Partial(self._utterance, tuple(self._words[:-1]), tuple(self._words[-1:]))]

    def _end(self) -> list[StreamEvent]:
        if not self._words:
            return []
        text = " ".join(word.text for word in self._words)
        tokens = tuple(Token(char, 1 + ord(char) % 28, self._words[0].start_s, -0.125) for char in text)
        words, self._words = tuple(self._words), []
        segment = Segment(self._utterance, words[0].start_s, words[-1].end_s, text, words, tokens, -0.125, 0.25)
        self._utterance += 1
        return [Final(segment.id, segment)]


def transcript_of(sentences: Sequence[str], duration_s: float = 10.0, alternatives: int = 0) -> Transcript:
    """Sentences as segments: a word each 0.3 s, pauses of half a second between segments."""
    segments = []
    now_s = 0.2
    for index, sentence in enumerate(sentences):
        words = []
        for position, text in enumerate(sentence.split()):
            confidence = (0.98, 0.75, 0.5, 0.2)[position % 4]
            others = OTHERS[:alternatives] if confidence == 0.5 else ()
            words.append(Word(text, now_s, now_s + 0.25, confidence, others))
            now_s += 0.3
        tokens = tuple(Token(char, 1 + ord(char) % 28, words[0].start_s, -0.125) for char in sentence)
        segments.append(Segment(index, words[0].start_s, words[-1].end_s, sentence, tuple(words), tokens, -0.125, 0.25))
        now_s += 0.5
    return Transcript(" ".join(sentences), tuple(segments), duration_s)


def wav(duration_s: float = 1.0, *, amplitude: float = 0.3, rate_hz: int = 8000) -> bytes:
    """A 16-bit mono WAV file of a 440 Hz tone."""
    frames = round(duration_s * rate_hz)
    tone = (round(32767 * amplitude * math.sin(2 * math.pi * 440 * n / rate_hz)) for n in range(frames))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(struct.pack(f"<{frames}h", *tone))
    return buffer.getvalue()


def wav_of_size(size_bytes: int, rate_hz: int = 8000) -> bytes:
    """A WAV file of exactly `size_bytes` (an even number); noisy, so that it is not silence."""
    frames = (size_bytes - 44) // 2
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(b"\x10\x05" * frames)
    assert len(buffer.getvalue()) == size_bytes
    return buffer.getvalue()
