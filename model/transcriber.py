"""The one path from audio to words: command line, evaluation and service all go through `Transcriber`.

Shape legend: N samples, S output frames, V vocabulary, O outputs (characters, then phones where words are searched by
their sounds).

    audio → decode → what may be speech → windows, raised if quiet → front end → CMVN → acoustic model
          → stitched log-probs → decoder → words and segments → what was heard where nobody spoke is dropped
          → times corrected by loudness

All of it goes on piece by piece: of the audio, two windows are in memory at most, of the log-probs one stretch, and of
everything a loudness every 10 ms.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from features.audio import SAMPLE_RATE_HZ, Waveform
from features.audio_stream import AudioStream
from features.loudness import LoudnessMeter
from features.quiet import QuietGain
from features.speech_detection import SpeechDetectionConfig
from model.acoustic_model import subsampled_length
from model.cancellation import CancelToken, check
from model.checkpoint import Bundle, load_bundle
from model.chunking import ChunkingConfig
from model.decoder import DecodedUnit, decode_greedy
from model.errors import AlternativesError, HotWordError, OptionError
from model.hot_words import HotWords
from model.hypothesis import NBest
from model.rejection import RejectionConfig
from model.runtime import ChoiceMemory, Runtime, TorchRuntime, make_runtime
from model.runtime_names import RuntimeChoice
from model.searches import make_full_search
from model.sources import Audio, WaveformBlocks, as_waveform, opened
from model.stages import each, stage
from model.streaming import StreamingConfig, StreamingSession
from model.tokenizer import BLANK_ID
from model.transcript import MOST_ALTERNATIVES, Transcript
from model.transcription import Transcription
from model.windows import CutWindow, WindowCutter
from model.word_timing import TimingConfig, place_words

if TYPE_CHECKING:
    from model.beam_search import BeamSearch
    from model.rescoring import Rescorer

DETECTION = SpeechDetectionConfig()
TIMING = TimingConfig()
SILENCE_LOGPROB = -30.0  # of every letter where the network is not asked


class Transcriber:
    """Transcribes audio with one bundle.

    Safe to call from several threads at once: a call shares nothing with another but the read-only weights.

    Args:
        bundle: the model.
        chunking: how audio longer than a window is cut.
        greedy: decode without the bundle's language model; a bundle that has none is decoded greedily anyway.
        runtime: what computes the bundle's acoustic model; None for torch in float32.
        detection: what of the audio the network is to hear; None for all of it.
        rejection: which words are dropped because nobody speaks; None for what the bundle says, which may be none.
        timing: how the times of words are corrected by loudness; None leaves them as the frames of their letters.

    Attributes:
        bundle, chunking, runtime, detection, rejection, timing: as given.
        greedy: nothing is searched, be it because that was asked for or because the bundle has no language model.
        confidence, live_confidence: how the confidence of words comes about, of whole recordings and of streams; None
            where the bundle does not know.
        decode: log-probs (S, O) → units of the best path, greedily or by beam search, rescored where the bundle can.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        chunking: ChunkingConfig | None = None,
        greedy: bool = False,
        runtime: Runtime | None = None,
        detection: SpeechDetectionConfig | None = DETECTION,
        rejection: RejectionConfig | None = None,
        timing: TimingConfig | None = TIMING,
    ) -> None:
        self.bundle = bundle
        self.runtime: Runtime = runtime or TorchRuntime(bundle.acoustic_model)
        self._search: BeamSearch | Rescorer | None = None if greedy else make_full_search(bundle)
        self.greedy = self._search is None
        self.decode = self._search.decode if self._search else self._decode_greedily
        self.chunking = chunking or ChunkingConfig()
        self._rate_hz = bundle.front_end.config.sample_rate_hz
        self.detection = replace(detection, sample_rate_hz=self._rate_hz) if detection else None
        self.rejection = rejection or bundle.rejection
        self.timing = timing
        self.confidence, self.live_confidence = (
            bundle.confidence.weights(searched=self._search is not None, live=live) if bundle.confidence else None
            for live in (False, True)
        )
        self._samples_per_frame = bundle.front_end.config.hop_samples * bundle.acoustic_model.config.subsampling

    @classmethod
    def from_bundle(
        cls,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        greedy: bool = False,
        runtime: RuntimeChoice = "auto",
        memory: ChoiceMemory | None = None,
    ) -> "Transcriber":
        """Load a bundle directory.

        Args:
            path: the directory.
            threads: processor threads that torch may use in this process; None leaves torch's choice.
            greedy: decode without the bundle's language model.
            runtime: what computes the acoustic model (`model.runtime`); `"auto"` takes the fastest here of those that
                cost at most 0.3 points of word error rate.
            memory: where the choice of `"auto"` is remembered; None measures it in every process.

        Raises:
            model.errors.BundleError: there is none, it is of another format version, or its hashes do not match.
            OptionError: the runtime is not installed, or `threads` is below 1.
        """
        if threads is not None:
            if threads < 1:
                raise OptionError(f"{threads} threads were asked for; 1 is the least")
            torch.set_num_threads(threads)
        bundle = load_bundle(path)
        if bundle.language_model is not None and not greedy:  # a search has no use for what the speller takes time for
            bundle = replace(bundle, acoustic_model=bundle.acoustic_model.without_speller())
        computed_by = make_runtime(bundle.acoustic_model, runtime, training=bundle.training, memory=memory)
        return cls(bundle, greedy=greedy, runtime=computed_by)

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.bundle.name

    @property
    def created_at(self) -> int:
        """Unix seconds at which the bundle was written."""
        return self.bundle.created_at

    @property
    def training(self) -> dict[str, Any]:
        """The bundle's training record."""
        return self.bundle.training

    @property
    def frame_s(self) -> float:
        """Seconds from one output frame to the next."""
        return self.bundle.frame_s

    def transcribe(
        self,
        audio: Audio | AudioStream,
        *,
        max_duration_s: float | None = None,
        progress: Callable[[float], None] | None = None,
        cancelled: CancelToken | None = None,
        hot_words: HotWords | None = None,
        alternatives: int = 0,
    ) -> Transcript:
        """Audio → words.

        Args:
            audio: the bytes of an audio file, a path to one, or samples at 16 kHz mono, decoded already or on the way.
            max_duration_s: the most seconds of audio accepted; enforced while decoding, so that it bounds memory too.
                Whoever opens an `AudioStream` sets its limits.
            progress: called with the share of the work done, 0..1, from the calling thread.
            cancelled: ends the work soon after it was cancelled from another thread: it is asked between blocks of
                decoding, layers of the network and pieces of the search, each some hundredths of a second.
            hot_words: what the search prefers, also where its lexicon lacks them.
            alternatives: how many of what else the search would have written are given with each word, at most 20.

        Raises:
            features.errors.AudioError: the audio cannot be used; its subclasses say why.
            WorkCancelledError: `cancelled` was cancelled.
            HotWordError: hot words that cannot be spelled, or a bundle without a language model to search with.
            AlternativesError: alternatives outside 0..20, or asked of greedy decoding, which knows of one text only.
            OSError: the path cannot be opened.
        """
        if not 0 <= alternatives <= MOST_ALTERNATIVES:
            raise AlternativesError(f"{alternatives} alternatives are asked for; 0 to {MOST_ALTERNATIVES} can be")
        if alternatives and self._search is None:
            raise AlternativesError(f"{self.name!r} is decoded greedily; only a language model's search has others")
        search = self._searching(hot_words, cancelled)
        decode = search.decode if search else self.decode
        boundary = search.boundary if search else None
        transcription = Transcription(
            decode,
            self.bundle.tokenizer,
            self.frame_s,
            self.rejection,
            boundary,
            confidence=self.confidence,
            alternatives=alternatives,
        )
        cutter, meter = self._cutter(), LoudnessMeter(self._rate_hz)
        check(cancelled)
        with opened(audio, self._rate_hz, max_duration_s=max_duration_s, cancelled=cancelled) as blocks:
            for first_frame, log_probs_SO in self._listen(blocks, cutter, progress, cancelled, meter):
                transcription.feed(first_frame, log_probs_SO)
        check(cancelled)
        transcript = transcription.finish(cutter.seen_samples / self._rate_hz)
        if self.timing is None:
            return transcript
        return place_words(transcript, meter.levels_db(), self.timing, cancelled=cancelled)

    def _decode_greedily(self, log_probs_SO: Float[Tensor, "S O"]) -> list[DecodedUnit]:
        return decode_greedy(log_probs_SO[:, self.bundle.acoustic_model.config.written])

    def _searching(self, hot_words: HotWords | None, cancelled: CancelToken | None) -> "BeamSearch | Rescorer | None":
        """The search with a request's own words; None for greedy decoding."""
        search = self._search.stopped_by(cancelled) if self._search else None
        if hot_words is None or not hot_words.terms:
            return search
        if search is None:
            raise HotWordError(f"{self.name!r} is decoded greedily; only a language model's search has hot words")
        return search.with_hot_words(hot_words)

    def stream(
        self,
        *,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        config: StreamingConfig | None = None,
        hot_words: HotWords | None = None,
        cancelled: CancelToken | None = None,
    ) -> StreamingSession:
        """Transcribe audio while it arrives (`model.streaming`); one session for each stream, from any thread.

        Args:
            sample_rate_hz: rate of the samples that it will be fed, hertz, 8000 to 192000.
            config: latency against accuracy and work.
            hot_words: as in `transcribe`, for all that the session hears.
            cancelled: ends the session soon after it was cancelled from another thread.

        Raises:
            features.errors.AudioParameterError: the rate is outside the supported range.
            HotWordError: as in `transcribe`.
        """
        search = self._searching(hot_words, cancelled)
        return StreamingSession(
            self.bundle,
            search.decode if search else self.decode,
            detection=self.detection,
            rejection=self.rejection,
            sample_rate_hz=sample_rate_hz,
            config=config,
            confidence=self.live_confidence,
            timing=self.timing,
            cancelled=cancelled,
        )

    def n_best(self, audio: Audio, n: int, *, max_duration_s: float | None = None) -> list[NBest]:
        """Audio → the n best word sequences of every stretch of at most 30 s, in order of time.

        The first of each list are the words that `transcribe` gives, with two differences: nothing is dropped for being
        no speech (`rejection`), and a stretch goes on over pauses that `transcribe` ends one at (`detection`).

        Args:
            audio: as in `transcribe`.
            n: the most hypotheses wanted; there may be fewer (`BeamSearch.n_best`).
            max_duration_s: as in `transcribe`.

        Raises:
            OptionError: n is below 1, or decoding is greedy, which knows of one text only.
            features.errors.AudioError: the audio cannot be used; its subclasses say why.
            OSError: the path cannot be opened.
        """
        if self._search is None:
            raise OptionError(f"{self.name!r} is decoded greedily; only a language model's search has an N-best list")
        return self._search.n_best(self.log_probs(as_waveform(audio, max_duration_s)), n)

    def log_probs(self, waveform: Waveform, *, progress: Callable[[float], None] | None = None) -> Tensor:
        """Natural-log posteriors (S, O) of every unit in every output frame (`frame_s`).

        Characters come first; where the model has a head for phones, those follow with a blank of their own. Where
        nobody can be speaking (`detection`), the network is not asked: the blank is certain there.

        Raises:
            features.errors.AudioParameterError: the waveform has another sample rate than the model.
        """
        n_samples = len(waveform.samples_N)
        pieces, reached = [self._silence(0)], 0
        blocks = WaveformBlocks(waveform, self._rate_hz)
        for first_frame, log_probs_SO in self._listen(blocks, self._cutter(), progress):
            pieces += [self._silence(first_frame - reached), log_probs_SO]
            reached = first_frame + len(log_probs_SO)
        subsampling = self.bundle.acoustic_model.config.subsampling
        n_frames = subsampled_length(self.bundle.front_end.config.n_frames(n_samples), subsampling)
        return torch.cat([*pieces, self._silence(n_frames - reached)])

    def _listen(
        self,
        blocks: AudioStream,
        cutter: WindowCutter,
        progress: Callable[[float], None] | None,
        cancelled: CancelToken | None = None,
        meter: LoudnessMeter | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """What the network says, window by window, and the number of the first frame of each."""
        told, quiet = 0.0, QuietGain(self._rate_hz)

        def tell(share_read: float) -> None:
            nonlocal told
            share = share_read * cutter.done_samples / max(1, cutter.seen_samples)
            if progress and share > told:
                told = share
                progress(share)

        for block_N in each("decode", blocks):
            check(cancelled)
            if meter is not None:
                meter.feed(block_N)
            for window in cutter.feed(block_N):
                yield window.first_frame, self._window_log_probs(window, quiet.next(window.samples_N), cancelled)
                tell(blocks.share_read)
            tell(blocks.share_read)
        for window in cutter.flush():
            yield window.first_frame, self._window_log_probs(window, quiet.next(window.samples_N), cancelled)
            tell(1.0)
        tell(1.0)

    @torch.inference_mode()
    def _window_log_probs(self, window: CutWindow, gain: float, cancelled: CancelToken | None) -> Tensor:
        check(cancelled)
        with stage("features"):
            # A copy, because a caller's array may be read-only.
            samples_BN = torch.tensor(window.samples_N).unsqueeze(0) * gain
            features_BTF, lengths_B = self.bundle.front_end(samples_BN, torch.tensor([samples_BN.shape[1]]))
            features_BTF = self.bundle.cmvn(features_BTF, lengths_B)
        with stage("network"):
            log_probs_BSO, _ = self.runtime(features_BTF, lengths_B, cancelled)
        end = None if window.keep_frames is None else window.skip_frames + window.keep_frames
        return torch.as_tensor(log_probs_BSO[0, window.skip_frames : end])

    def _silence(self, n_frames: int) -> Tensor:
        config = self.bundle.acoustic_model.config
        log_probs_SO = torch.full((n_frames, config.n_outputs), SILENCE_LOGPROB)
        log_probs_SO[:, [columns.start + BLANK_ID for columns in config.columns]] = 0.0
        return log_probs_SO

    def _cutter(self) -> WindowCutter:
        return WindowCutter(self._rate_hz, self._samples_per_frame, self.chunking, self.detection)
