"""Speech to text while somebody speaks: audio in pieces → words that are certain, and words that may still change.

Shape legend: N samples, T feature frames, F feature bins, S output frames, V vocabulary.

    samples → 16 kHz → blocks of `block_s` → what may be speech, raised if quiet → front end → CMVN − running mean
            → latency-controlled BLSTM → settled log-probs and an outlook → search → committed and interim words

**Blocks.** Everything happens once a block, and blocks are cut at the same samples however the audio was fed. So the
size of the pieces changes nothing about what is said.

**Network.** A frame's log-probs are settled once `right_s` seconds after it are known (`model.latency_control`).
The frames after the last settled one are computed too, with less right context; they make the interim words.

**Search.** Every block the whole utterance is searched, greedily or with the language model, as `Transcriber` does.
A word is committed when it and all words before it are settled, a boundary was heard after it, and `agreement` searches
in a row begin with the same words. From then on the committed path is given to the search as certain, every other unit
being impossible in those frames: whatever the language model learns later, it goes on from the committed words, and
their frames cost next to nothing (`model.stable_words`).

**Utterances** end at pauses: nothing is heard for `pause_s` seconds, or, where nobody pauses, after `longest_s`. The
language model then begins a new sentence; the network does not notice. At its end all words of an utterance are
final, and only then their times are corrected by loudness (`model.word_timing`), which needs to hear what comes after
them. Words of which the log-probs say that nobody spoke them are neither shown nor committed (`model.rejection`).

**Bounds.** Remembered are one block, the audio that the speech detector has not judged (about 1.5 s), the features of
the right context, one utterance's log-probs, the loudness of a minute or so, and the running mean. The work of a block
is bounded by the longest utterance, not by the length of the stream.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from features.audio import SAMPLE_RATE_HZ
from features.errors import AudioParameterError
from features.loudness import LoudnessMeter
from features.quiet import LiveGain
from features.resampling import StreamingResampler
from features.samples import check_samples
from features.speech_detection import SpeechDetectionConfig
from features.streaming import StreamingFrontEnd
from model.cancellation import CancelToken, check
from model.checkpoint import Bundle
from model.confidence import ConfidenceWeights
from model.decoder import DecodedUnit
from model.errors import OptionError
from model.latency_control import LatencyControlledModel, RunningMean
from model.rejection import RejectionConfig
from model.speech_gate import GatedAudio, SpeechGate
from model.stable_words import CommitConfig, StableWords
from model.stream_events import Final, StreamEvent
from model.transcript import Transcript
from model.word_timing import TimingConfig, place_words

PIECE_S = 1.0  # of what is fed, worked on between two looks at whether it is still wanted
LOUDNESS_AROUND_S = 5.0  # of the longest utterance, remembered too: the speech gate holds back, pauses are measured


@dataclass(frozen=True)
class StreamingConfig:
    """What latency is paid for accuracy and for work.

    Attributes:
        block_s: audio that is computed at once; words are half of it late on average, and halving it costs about
            twice the work.
        right_s: right context after which log-probs stay as they are, and so the least latency of a committed word.
        prior_s: seconds of the training corpus' mean that the running mean begins with.
        memory_s: seconds of speech that the running mean remembers, at most.
        commit: when words are committed, and when an utterance ends.
    """

    block_s: float = 0.32
    right_s: float = 1.0
    prior_s: float = 1.0
    memory_s: float = 20.0
    commit: CommitConfig = field(default_factory=CommitConfig)

    def __post_init__(self) -> None:
        if not 0.04 <= self.block_s <= 5 or not 0 <= self.right_s <= 4:
            raise OptionError(
                f"block is {self.block_s} s and right context {self.right_s} s; 0.04 to 5 s and 0 to 4 s are supported"
            )
        if not (0 <= self.prior_s <= self.memory_s and 1 <= self.memory_s < math.inf):
            raise OptionError(
                f"the mean begins with {self.prior_s} s and remembers {self.memory_s} s; "
                "at least 0 and at least 1 are needed, and no more to begin with than it remembers"
            )


class StreamingSession:
    """One stream of audio; `Transcriber.stream` makes one.

    Not safe to be called from several threads at once. Several sessions may share a bundle.

    Args:
        bundle: the model; it is computed by torch, since only torch hands out the states of the LSTMs.
        decode: log-probs (S, O) → units of the best path.
        detection: what of the audio the network is to hear; None for all of it.
        rejection: which words are dropped because nobody speaks; None for none.
        sample_rate_hz: rate of the samples that are fed, hertz.
        config: see there.
        confidence: how words' confidence comes about; None for their letters' posteriors.
        timing: how the times of final words are corrected by loudness; None for the frames of their letters.
        cancelled: ends the session soon after it was cancelled; `decode` has to look at it too.

    Raises:
        features.errors.AudioParameterError: the rate is outside the supported range.
        OptionError: the bundle's front end does not hear 16 kHz.
    """

    def __init__(
        self,
        bundle: Bundle,
        decode: Callable[[Tensor], list[DecodedUnit]],
        *,
        detection: SpeechDetectionConfig | None,
        rejection: RejectionConfig | None,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        config: StreamingConfig | None = None,
        confidence: ConfidenceWeights | None = None,
        timing: TimingConfig | None = None,
        cancelled: CancelToken | None = None,
    ) -> None:
        self.config = config = config or StreamingConfig()
        self.sample_rate_hz = sample_rate_hz
        front_end = bundle.front_end.config
        if front_end.sample_rate_hz != SAMPLE_RATE_HZ:
            raise OptionError(f"{bundle.name!r} hears {front_end.sample_rate_hz} Hz; a stream has {SAMPLE_RATE_HZ} Hz")
        self._bundle = bundle
        self._samples_per_frame = front_end.hop_samples * bundle.acoustic_model.config.subsampling
        frame_s = self._samples_per_frame / SAMPLE_RATE_HZ
        self._block_samples = max(1, round(config.block_s / frame_s)) * self._samples_per_frame
        frames_a_s = SAMPLE_RATE_HZ / front_end.hop_samples
        mean = RunningMean(
            front_end.n_features, prior_frames=config.prior_s * frames_a_s, memory_frames=config.memory_s * frames_a_s
        )
        right_frames = round(config.right_s / frame_s)
        self._resampler = StreamingResampler(sample_rate_hz)
        self._gate = SpeechGate(self._samples_per_frame, detection)
        self._quiet = LiveGain(SAMPLE_RATE_HZ)
        self._front_end = StreamingFrontEnd(bundle.front_end)
        self._model = LatencyControlledModel(bundle.acoustic_model, right_frames=right_frames, mean=mean)
        self._words = StableWords(decode, bundle.tokenizer, frame_s, rejection, config.commit, confidence)
        self._timing = timing
        self._cancelled = cancelled
        self._start()

    def _start(self) -> None:
        self._fed = 0  # samples, at the stream's own rate
        self._heard = 0  # samples that the gate was given, at 16 kHz
        self._waiting_N = np.zeros(0, np.float32)  # less than a block
        keep_s = self.config.commit.longest_s + self.config.right_s + LOUDNESS_AROUND_S
        self._loudness = LoudnessMeter(SAMPLE_RATE_HZ, keep_s=keep_s)
        self._said_until_s = 0.0  # where the last word of the utterance before ends

    @property
    def duration_s(self) -> float:
        """Seconds of audio that were fed since the session or the last `flush`."""
        return self._fed / self.sample_rate_hz

    def feed(self, samples_N: np.ndarray) -> list[StreamEvent]:
        """Take mono samples, floating point in about -1..1; return what is known with them, perhaps nothing new.

        Times are seconds from the first sample on.

        Raises:
            features.errors.AudioParameterError: these are no mono samples of floating point, or one is above 2³¹.
            features.errors.NonFiniteAudioError: one of them is NaN or infinite. In all of these cases the session stays
                as it was.
            WorkCancelledError: the session was cancelled; it is of no more use.
        """
        self._check(samples_N)
        piece = round(PIECE_S * self.sample_rate_hz)
        events: list[StreamEvent] = []
        for first in range(0, len(samples_N), piece):
            check(self._cancelled)
            piece_N = samples_N[first : first + piece]
            self._fed += len(piece_N)
            events += self._hear(self._resampler.feed(np.asarray(piece_N, np.float32)))
        return events

    def flush(self) -> list[StreamEvent]:
        """End of the audio: return the rest of the words, and be ready for other audio, whose times begin at 0.

        The running mean and the gain are kept: what follows most probably comes by the same microphone.

        Raises:
            WorkCancelledError: as in `feed`.
        """
        check(self._cancelled)
        events = self._hear(self._resampler.flush())
        duration_s = self.duration_s
        rest_N, self._waiting_N = self._waiting_N, self._waiting_N[:0]
        self._loudness.feed(rest_N)
        events += self._take([*self._gate.feed(rest_N), *self._gate.flush()], duration_s)
        self._words.restart_numbers()
        self._start()
        return events

    def _check(self, samples_N: np.ndarray) -> None:
        if samples_N.ndim != 1 or not np.issubdtype(samples_N.dtype, np.floating):
            raise AudioParameterError(
                f"the samples have shape {samples_N.shape} and type {samples_N.dtype}; a stream takes mono samples of "
                "floating point, one dimension"
            )
        check_samples(samples_N, self.duration_s, self.sample_rate_hz)

    def _hear(self, samples_N: np.ndarray) -> list[StreamEvent]:
        self._waiting_N = np.concatenate([self._waiting_N, samples_N])
        events: list[StreamEvent] = []
        while len(self._waiting_N) >= self._block_samples:
            check(self._cancelled)
            block_N, self._waiting_N = np.split(self._waiting_N, [self._block_samples])
            self._heard += len(block_N)
            self._loudness.feed(block_N)
            events += self._take(self._gate.feed(block_N), self._heard / SAMPLE_RATE_HZ)
        return events

    def _take(self, steps: list[GatedAudio], duration_s: float) -> list[StreamEvent]:
        """What some steps of the gate make known."""
        self._hear_level(steps)
        events = [event for step in steps for event in self._listen(step, duration_s)]
        return [self._placed(event, duration_s) if isinstance(event, Final) else event for event in events]

    def _hear_level(self, steps: list[GatedAudio]) -> None:
        """Before any of it is raised: speech begins with less than its level."""
        before = self._quiet.gain
        gain = self._quiet.next(np.concatenate([step.samples_N for step in steps] or [self._waiting_N[:0]]))
        if gain != before:  # what was heard before is remembered as if it had been raised like what comes now
            front_end, cmvn = self._bundle.front_end, self._bundle.cmvn
            mean_F, std_F = cmvn.get_buffer("mean_F"), cmvn.get_buffer("std_F")
            self._model.shift(front_end.raised_by(gain / before) / std_F, (front_end.least() - mean_F) / std_F)

    def _placed(self, final: Final, duration_s: float) -> Final:
        """The utterance with the times of its words corrected by loudness."""
        if self._timing is None:
            return final
        transcript = place_words(
            Transcript(final.segment.text, (final.segment,), duration_s),
            self._loudness.levels_db(),
            self._timing,
            levels_from_s=self._loudness.first_s,
            earliest_s=min(self._said_until_s, duration_s),
        )
        segment = transcript.segments[0]
        self._said_until_s = segment.end_s
        return replace(final, segment=segment)

    @torch.inference_mode()
    def _listen(self, step: GatedAudio, duration_s: float) -> list[StreamEvent]:
        if step.begins:
            self._words.begin(step.first_sample // self._samples_per_frame)
        samples_N = torch.tensor(step.samples_N) * self._quiet.gain
        settled_SV, outlook_SV = self._compute(self._front_end.feed(samples_N))
        if step.ends_at is None:
            return self._words.feed(settled_SV, outlook_SV, duration_s=duration_s)
        last_SV, _ = self._compute(self._front_end.flush())
        settled_SV = torch.cat([settled_SV, last_SV, self._model.flush()])
        end_frame = math.ceil(step.ends_at / self._samples_per_frame)
        return self._words.close(settled_SV, end_frame, duration_s=duration_s)

    def _compute(self, features_TF: Tensor) -> tuple[Tensor, Tensor]:
        normalized_BTF = self._bundle.cmvn(features_TF.unsqueeze(0), torch.tensor([len(features_TF)]))
        return self._model.feed(normalized_BTF[0])
