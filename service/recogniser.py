"""The one model that is served: loaded and warmed up in the background, found by name, its answers remembered a while.

`Recogniser` is what the service asks of a model; `model.transcriber.Transcriber` is one, a fake in a test another.
"""

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from os import PathLike
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Protocol

from features.audio_stream import AudioStream
from features.errors import CepstraError
from features.limits import AudioLimits
from model.cancellation import CancelToken, check
from model.hot_words import HotWords
from model.stages import Observer, observing
from model.transcript import Transcript
from service.decoding.decoders import Decoders
from service.decoding.messages import Budget
from service.errors import NotReadyError, UnknownModelError
from service.settings import Settings

if TYPE_CHECKING:
    from model.batching import Batch, BatchingRuntime

logger = logging.getLogger("cepstra.service")

ALIASES = ("default", "whisper-1")  # names under which any client finds the served model
LANGUAGE = "en"
WARM_UP_S = 2
BATCH_ROWS = 8  # more gain nothing on a processor (benchmarks/recognition.py)

Progress = Callable[[float], None]


class Recogniser(Protocol):
    """What the service asks of a model."""

    @property
    def name(self) -> str:
        """The bundle's name."""

    @property
    def created_at(self) -> int:
        """Unix seconds at which the bundle was written."""

    def transcribe(
        self,
        audio: bytes | str | PathLike[str] | AudioStream,
        *,
        progress: Progress | None = None,
        cancelled: CancelToken | None = None,
        hot_words: HotWords | None = None,
    ) -> Transcript:
        """Audio → transcript; raises the `features.errors.AudioError` family, and WorkCancelledError."""


class ServedModel:
    """The model behind the routes.

    Args:
        settings: which bundle, with how many threads, how long answers are remembered.
        recogniser: a model that is loaded already; else `load` loads `settings.bundle`.
        decoders: decoding processes to share; else it has its own.

    Attributes:
        failure: why the model could not be loaded, else None.
        on_failure: called once if it could not, from the thread that loads.
        batching: what computes the network for everybody, once it is loaded; None without batching.
        on_stage: told of every stage of a transcription.
        on_batch: told of every batch that the network computes.
        on_transcript: told the seconds of audio and the seconds of work of every transcription.
    """

    def __init__(
        self, settings: Settings, recogniser: Recogniser | None = None, decoders: Decoders | None = None
    ) -> None:
        self._settings = settings
        self._decoders = decoders or Decoders()
        self._owns_decoders = decoders is None
        self._limits = AudioLimits(
            max_duration_s=settings.max_audio_s,
            max_decoded_bytes=settings.max_decoded_bytes,
            max_channels=settings.max_channels,
            max_sample_rate_hz=settings.max_sample_rate_hz,
        )
        self._budget = Budget(settings.decoder_memory_bytes, settings.decoder_cpu_s, settings.decoder_stall_s)
        self._injected = recogniser
        self._ready: Recogniser | None = None
        self._recent = RecentTranscripts(settings.remember_s, settings.max_audio_s)
        self.failure: Exception | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.batching: BatchingRuntime | None = None
        self.on_stage: Observer = lambda stage, began_ns, ended_ns: None
        self.on_batch: Callable[[Batch], None] = lambda batch: None
        self.on_transcript: Callable[[float, float], None] = lambda audio_s, took_s: None

    @property
    def is_ready(self) -> bool:
        """Whether it is loaded and warm."""
        return self._ready is not None

    def network_load(self) -> tuple[int, float]:
        """How many windows wait for the network, and for how many seconds the oldest has."""
        return self.batching.load() if self.batching is not None else (0, 0.0)

    def load(self) -> None:
        """Load and warm up; blocks for seconds, so it runs in a thread of its own. Never raises."""
        started = time.monotonic()
        try:
            self._decoders.start()
            recogniser = self._injected or self._from_bundle()
            with TemporaryFile() as silence:
                silence.write(silent_wav(WARM_UP_S))
                with self._decoded(silence, AudioLimits()) as samples:
                    recogniser.transcribe(samples)
        except Exception as error:
            logger.critical("the model could not be loaded: %s", error, exc_info=not isinstance(error, CepstraError))
            self.failure = error
            self.on_failure()
            return
        self._ready = recogniser
        logger.info("model %s ready after %.1f s", recogniser.name, time.monotonic() - started)

    def ready(self) -> Recogniser:
        """The loaded model; raises NotReadyError before that."""
        if self._ready is None:
            if self.failure:
                raise NotReadyError("The model could not be loaded; the server's log says why.")
            raise NotReadyError("The model is still loading; try again in a few seconds.", retry_after_s=2)
        return self._ready

    def find(self, name: str) -> Recogniser:
        """The model that `name` names; raises UnknownModelError where there is none."""
        recogniser = self.ready()
        if name not in (recogniser.name, *ALIASES):
            aliases = " and ".join(f"'{alias}'" for alias in ALIASES)
            raise UnknownModelError(
                f"The model '{name[:100]}' does not exist. Served here is '{recogniser.name}'; {aliases} name it too."
            )
        return recogniser

    def transcribe(
        self,
        audio: BinaryIO,
        progress: Progress,
        cancelled: CancelToken | None = None,
        hot_words: HotWords | None = None,
    ) -> Transcript:
        """Transcribe an open file, or remember: the same bytes and words within `remember_s` cost no work.

        Raises:
            features.errors.AudioError: the audio cannot be used.
            UndecodableAudioError, DecoderUnavailableError: as `Decoders.open`.
            model.errors.WorkCancelledError: `cancelled` was cancelled.
        """
        key = _digest(audio, hot_words)
        transcript = self._recent.get(key)
        if transcript is None:
            began_s = time.monotonic()
            with observing(self.on_stage), self._decoded(audio, self._limits, cancelled) as samples:
                transcript = self.ready().transcribe(
                    samples, progress=progress, cancelled=cancelled, hot_words=hot_words
                )
            self.on_transcript(transcript.duration_s, time.monotonic() - began_s)
            self._recent.put(key, transcript)
        return transcript

    def close(self) -> None:
        """End the threads that compute, and the decoding processes where they are its own.

        To be called once nothing is transcribed any more.
        """
        if self.batching is not None:
            self.batching.close()
        if self._owns_decoders:
            self._decoders.close()

    def _decoded(
        self, audio: BinaryIO, limits: AudioLimits, cancelled: CancelToken | None = None
    ) -> AbstractContextManager[AudioStream]:
        return self._decoders.open(audio, limits, self._budget, while_waiting=partial(check, cancelled))

    def _from_bundle(self) -> Recogniser:
        import torch  # takes a second: /healthz must not wait for it

        from model.batching import BatchingRuntime
        from model.transcriber import Transcriber

        settings = self._settings
        threads = settings.threads or torch.get_num_threads()
        # In batches every thread computes another one: two that share an LSTM's products wait for each other.
        transcriber = Transcriber.from_bundle(
            settings.bundle, threads=1 if settings.batching else threads, runtime=settings.runtime
        )
        if settings.batching:
            self.batching = BatchingRuntime(
                transcriber.runtime, most_rows=BATCH_ROWS, at_once=threads, on_batch=self.on_batch
            )
            transcriber.runtime = self.batching
        logger.info("the acoustic model runs on %s, %d threads", transcriber.runtime.name, threads)
        return transcriber


class RecentTranscripts:
    """The last transcripts by the hash of their audio, so that a client's retry is not worked on twice.

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


def _digest(file: BinaryIO, hot_words: HotWords | None) -> bytes:
    """The hash of all bytes of a file, of which a megabyte at a time is in memory, and of the words."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    digest.update(repr(hot_words).encode(errors="backslashreplace"))
    return digest.digest()


def silent_wav(duration_s: int, sample_rate_hz: int = 16_000) -> bytes:
    """A mono 16-bit WAV file of silence: takes the way of an upload, decoder included."""
    data = bytes(2 * sample_rate_hz * duration_s)
    rate = sample_rate_hz.to_bytes(4, "little") + (2 * sample_rate_hz).to_bytes(4, "little")
    header = b"WAVEfmt \x10\0\0\0\1\0\1\0" + rate + b"\2\0\x10\0data" + len(data).to_bytes(4, "little")
    return b"RIFF" + (len(header) + len(data)).to_bytes(4, "little") + header + data
