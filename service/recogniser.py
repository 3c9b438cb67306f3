"""The models that are served: loaded and warmed up in the background, found by name, their answers remembered a while.

`Recogniser` is what the service asks of a model; `model.transcriber.Transcriber` is one, a fake in a test another.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from os import PathLike
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from weakref import WeakKeyDictionary, finalize

import numpy as np

from features.audio_stream import AudioStream
from features.errors import CepstraError
from features.limits import AudioLimits
from model.cancellation import CancelToken, check
from model.hot_words import HotWords
from model.house import HOUSE
from model.stages import Observer, observing
from model.stream_events import StreamEvent
from model.transcript import Transcript
from service.decoding.decoders import Decoders
from service.decoding.messages import Budget
from service.errors import NotReadyError
from service.processors import usable_processors
from service.promotions import Promotions
from service.recent_transcripts import RecentTranscripts, digest
from service.registry import Model, Registry
from service.runtime_memory import RuntimeMemory
from service.settings import Settings

if TYPE_CHECKING:
    from model.batching import Batch, BatchingRuntime
    from model.streaming import StreamingConfig  # torch takes a second

logger = logging.getLogger("cepstra.service")

LANGUAGE = "en"
WARM_UP_S = 2
TROUBLE_S = 30  # after which a model that could not be loaded is tried again

Progress = Callable[[float], None]


class LiveSession(Protocol):
    """What the service asks of a stream of audio; `model.streaming.StreamingSession` is one."""

    def feed(self, samples_N: np.ndarray) -> list[StreamEvent]:
        """Mono samples in -1..1 → what is known with them."""

    def flush(self) -> list[StreamEvent]:
        """The end of the audio → the rest; then ready for other audio, whose times begin at 0."""


class Recogniser(Protocol):
    """What the service asks of a model."""

    @property
    def name(self) -> str:
        """The bundle's name."""

    @property
    def created_at(self) -> int:
        """Unix seconds at which the bundle was written."""

    @property
    def greedy(self) -> bool:
        """Whether it decodes without a search, and so has no alternatives."""

    def transcribe(
        self,
        audio: bytes | str | PathLike[str] | AudioStream,
        *,
        progress: Progress | None = None,
        cancelled: CancelToken | None = None,
        hot_words: HotWords | None = None,
        alternatives: int = 0,
    ) -> Transcript:
        """Audio → transcript; raises the `features.errors.AudioError` family, and WorkCancelledError."""

    def stream(
        self, *, sample_rate_hz: int, config: "StreamingConfig | None" = None, hot_words: HotWords | None = None
    ) -> LiveSession:
        """A session for one stream of audio at this rate, hertz; raises HotWordError."""


class ServedModel:
    """The models behind the routes: the default, loaded from the start on, and others on demand.

    Args:
        settings: which bundles, with how many threads, how long answers are remembered.
        recogniser: a model that is loaded already; else `load` loads the default.
        decoders: decoding processes to share; else it has its own.

    Attributes:
        registry: the models by name.
        failure: why the default could not be loaded, else None.
        on_failure: called once if it could not, from the thread that loads.
        on_stage: told of every stage of a transcription.
        on_batch: told of every batch that a network computes.
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
        given = recogniser and Model(recogniser.name, recogniser.created_at, lambda: self._warmed(recogniser))
        self.registry: Registry[Recogniser] = Registry(
            given or settings.bundle,
            settings.models_dir,
            Promotions(settings.state_dir),
            lambda path: self._warmed(self._from_bundle(path)),
        )
        self._recent = RecentTranscripts(settings.remember_s, settings.max_audio_s)
        self._batching: WeakKeyDictionary[Recogniser, BatchingRuntime] = WeakKeyDictionary()
        self._endings: list[finalize[Any, Any]] = []  # of the threads that compute, one for each model
        self._trouble = Trouble()
        self.failure: Exception | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.on_stage: Observer = lambda stage, began_ns, ended_ns: None
        self.on_batch: Callable[[Batch], None] = lambda batch: None
        self.on_transcript: Callable[[float, float], None] = lambda audio_s, took_s: None

    @property
    def is_ready(self) -> bool:
        """Whether the default is loaded and warm."""
        return self.registry.default is not None

    @property
    def has_alternatives(self) -> bool:
        """Whether the default can be asked for `alternatives`."""
        default = self.registry.default
        recogniser = default.peek() if default else None
        return recogniser is not None and not recogniser.greedy

    @property
    def batching(self) -> "BatchingRuntime | None":
        """What computes the default's network for everybody; None before it is loaded."""
        default = self.registry.default
        recogniser = default.peek() if default else None
        return self._batching.get(recogniser) if recogniser else None

    def network_load(self) -> tuple[int, float]:
        """How many windows wait for the networks, and for how many seconds the oldest has."""
        loads = [batching.load() for batching in list(self._batching.values())]
        return sum(waiting for waiting, _ in loads), max((oldest_s for _, oldest_s in loads), default=0.0)

    def load(self) -> None:
        """Load the default and warm it up; blocks for seconds, so it runs in a thread of its own. Never raises."""
        try:
            self._decoders.start()
            self.registry.follow()
        except Exception as error:
            logger.critical("the model could not be loaded: %s", error, exc_info=not isinstance(error, CepstraError))
            self.failure = error
            self.on_failure()

    def tend(self) -> None:
        """Let another model take the default's place where that was asked for, and drop idle ones. Never raises.

        To be called every second or so, from a thread that may block for seconds.
        """
        if self.registry.default is None or self._trouble.is_recent():
            return
        try:
            self.registry.follow()
        except Exception as error:
            self._trouble.note("the default model stays, another cannot take its place", error)
        self.registry.drop_idle(self._settings.model_idle_s)

    def ready(self) -> Model[Recogniser]:
        """The default; raises NotReadyError before it is loaded."""
        if self.registry.default is None and self.failure:
            raise NotReadyError("The model could not be loaded; the server's log says why.")
        return self.registry.find("default")

    def named(self, name: str) -> Model[Recogniser]:
        """The model that `name` names, in memory or not; raises UnknownModelError where there is none."""
        self.ready()
        return self.registry.find(name)

    def find(self, name: str) -> Recogniser:
        """The model that `name` names, in memory; for those who may not wait for it to be loaded.

        Raises:
            UnknownModelError: there is none.
            NotReadyError: it is not in memory yet.
        """
        return self.named(name).now()

    def transcribe(
        self,
        audio: BinaryIO,
        progress: Progress,
        cancelled: CancelToken | None = None,
        hot_words: HotWords | None = None,
        model: Model[Recogniser] | None = None,
        *,
        alternatives: int = 0,
    ) -> Transcript:
        """Transcribe an open file with `model`, or the default; the same bytes and options cost no work for a while.

        Raises:
            features.errors.AudioError: the audio cannot be used.
            UndecodableAudioError, DecoderUnavailableError: as `Decoders.open`.
            model.errors.WorkCancelledError: `cancelled` was cancelled.
            model.errors.BundleError: the model was not in memory, and cannot be loaded.
        """
        model = model or self.ready()
        key = digest(audio, hot_words, model.name, model.created_at)
        transcript = self._recent.get(key, alternatives)
        if transcript is None:
            with model.in_use() as recogniser:
                began_s = time.monotonic()
                with observing(self.on_stage), self._decoded(audio, self._limits, cancelled) as samples:
                    transcript = recogniser.transcribe(
                        samples,
                        progress=progress,
                        cancelled=cancelled,
                        hot_words=hot_words,
                        alternatives=alternatives,
                    )
            self.on_transcript(transcript.duration_s, time.monotonic() - began_s)
            self._recent.put(key, transcript, alternatives)
        return transcript

    def close(self) -> None:
        """End the threads that compute, and the decoding processes where they are its own.

        To be called once nothing is transcribed any more.
        """
        for end in self._endings:
            end()
        if self._owns_decoders:
            self._decoders.close()

    def _decoded(
        self, audio: BinaryIO, limits: AudioLimits, cancelled: CancelToken | None = None
    ) -> AbstractContextManager[AudioStream]:
        return self._decoders.open(audio, limits, self._budget, while_waiting=partial(check, cancelled))

    def _warmed(self, recogniser: Recogniser) -> Recogniser:
        with TemporaryFile() as silence:
            silence.write(silent_wav(WARM_UP_S))
            with self._decoded(silence, AudioLimits()) as samples:
                recogniser.transcribe(samples)
        return recogniser

    def _from_bundle(self, path: Path) -> Recogniser:
        from model.batching import BatchingRuntime  # torch takes a second: /healthz must not wait for it
        from model.transcriber import Transcriber

        settings = self._settings
        available = usable_processors()
        HOUSE.n_processors = available
        threads = settings.threads or available
        # Every thread computes another batch: two that share an LSTM's products wait for each other in every frame.
        memory = RuntimeMemory(settings.state_dir)
        transcriber = Transcriber.from_bundle(path, threads=1, runtime=settings.runtime, memory=memory)
        batching = BatchingRuntime(
            transcriber.runtime, most_rows=settings.batch_rows, at_once=threads, on_batch=self.on_batch
        )
        transcriber.runtime = batching
        self._batching[transcriber] = batching
        # A model lives as long as somebody holds it; its threads have to end with it.
        self._endings = [end for end in self._endings if end.alive] + [finalize(transcriber, batching.close)]
        logger.info("the acoustic model runs on %s, %d threads", transcriber.runtime.name, threads)
        return transcriber


class Trouble:
    """An error that comes again and again: told once, and kept from being run into every second."""

    def __init__(self) -> None:
        self._told = ""
        self._until_s = 0.0

    def note(self, what: str, error: Exception) -> None:
        """Log `error`, unless it is the one from before."""
        if str(error) != self._told:
            logger.error("%s: %s", what, error, exc_info=not isinstance(error, CepstraError))
        self._told = str(error)
        self._until_s = time.monotonic() + TROUBLE_S

    def is_recent(self) -> bool:
        """Whether it came a short while ago."""
        return time.monotonic() < self._until_s


def silent_wav(duration_s: int, sample_rate_hz: int = 16_000) -> bytes:
    """A mono 16-bit WAV file of silence: takes the way of an upload, decoder included."""
    data = bytes(2 * sample_rate_hz * duration_s)
    rate = sample_rate_hz.to_bytes(4, "little") + (2 * sample_rate_hz).to_bytes(4, "little")
    header = b"WAVEfmt \x10\0\0\0\1\0\1\0" + rate + b"\2\0\x10\0data" + len(data).to_bytes(4, "little")
    return b"RIFF" + (len(header) + len(data)).to_bytes(4, "little") + header + data
