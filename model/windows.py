"""The windows that the network is to see, cut from audio of any length while it arrives.

Shape legend: N samples.

Only what may be speech is cut into windows (`features.speech_detection`), each stretch of it by itself; audio that fits
into one window and has little silence is left whole. What is remembered is the audio of two windows at most.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from features.speech_detection import Span, SpeechDetectionConfig, SpeechDetector
from model.chunking import ChunkingConfig, Window, plan_windows, window_frames

MOST_SILENCE_S = 2.0  # in audio that is left whole


@dataclass(frozen=True)
class CutWindow:
    """One window's audio.

    Attributes:
        samples_N: what the network sees.
        first_frame: number of the first output frame that the window answers for, counted from the audio's beginning.
        skip_frames, keep_frames: as in `Window`.
        end_sample: all before this is answered for.
    """

    samples_N: np.ndarray
    first_frame: int
    skip_frames: int
    keep_frames: int | None
    end_sample: int


class WindowCutter:
    """Takes audio in pieces of any size and gives windows, in order of time.

    Args:
        sample_rate_hz: rate of the audio.
        samples_per_frame: samples from one output frame to the next.
        chunking: how long windows are.
        detection: what may be speech; None takes everything.

    Attributes:
        seen_samples: how many were fed.
        done_samples: everything before this sample is either in a window that was given out or silent.
    """

    def __init__(
        self,
        sample_rate_hz: int,
        samples_per_frame: int,
        chunking: ChunkingConfig,
        detection: SpeechDetectionConfig | None,
    ) -> None:
        self._rate_hz = sample_rate_hz
        self._samples_per_frame = samples_per_frame
        self._chunking = chunking
        self._detector = SpeechDetector(detection) if detection else None
        self._spans: list[Span] = []
        self._audio_N = np.zeros(0, np.float32)
        self._audio_first = 0  # number of the first sample that is remembered
        self._looked_at = 0  # how many samples the detector has seen
        self._region: _Region | None = None
        self.seen_samples = 0
        self.done_samples = 0

    def feed(self, samples_N: np.ndarray) -> Iterator[CutWindow]:
        """Take samples; give the windows that are certain with them. To be exhausted before the next call."""
        self._audio_N = np.concatenate([self._audio_N, samples_N])
        self.seen_samples += len(samples_N)
        if self.seen_samples > self._chunking.window_s * self._rate_hz:
            self._spans.extend(self._detect())
            yield from self._cut()
            self._forget()

    def flush(self) -> Iterator[CutWindow]:
        """The audio is over: give the rest."""
        if self.seen_samples > self._chunking.window_s * self._rate_hz:
            self._spans += [*self._detect(), *(self._detector.flush() if self._detector else [])]
        elif self.seen_samples:
            spans = [*self._detect(), *(self._detector.flush() if self._detector else [])]
            silent = sum(span.last_sample - span.first_sample for span in spans if not span.speech)
            # Left whole, with short silences in it: the network is at home with utterances of this length. Long ones
            # would draw the mean of the features down so far that it hears nothing.
            whole = [Span(0, self.seen_samples, any(span.speech for span in spans))]
            self._spans = whole if silent <= MOST_SILENCE_S * self._rate_hz else spans
        yield from self._cut()
        yield from self._close(self.seen_samples)
        self.done_samples = self.seen_samples

    def _detect(self) -> list[Span]:
        """What is certain of the audio that was not looked at yet."""
        first, self._looked_at = self._looked_at, self.seen_samples
        if self._detector:
            return self._detector.feed(self._audio_N[first - self._audio_first :])
        return [Span(first, self.seen_samples, True)] if first < self.seen_samples else []

    def _cut(self) -> Iterator[CutWindow]:
        spans, self._spans = self._spans, []
        for span in spans:
            if not span.speech:
                # The region ends with a whole output frame, for which it borrows a little of the silence.
                yield from self._close(min(span.last_sample, self._whole_frames(span.first_sample)))
                self.done_samples = span.last_sample
                continue
            if self._region is None:
                first = span.first_sample // self._samples_per_frame * self._samples_per_frame
                self._region = _Region(first, first)
            self._region.end_sample = span.last_sample
            yield from self._certain(self._region)

    def _whole_frames(self, sample: int) -> int:
        return math.ceil(sample / self._samples_per_frame) * self._samples_per_frame

    def _certain(self, region: "_Region") -> Iterator[CutWindow]:
        """Full windows, as long as enough is left for the last two to be of about equal length."""
        if region.end_sample - region.first_sample <= self._chunking.window_s * self._rate_hz:
            return
        answer_frames, context_frames = window_frames(self._rate_hz, self._samples_per_frame, self._chunking)
        ahead_frames = 2 * answer_frames + context_frames
        while (region.end_sample - region.first_sample) // self._samples_per_frame - region.answered >= ahead_frames:
            first = max(0, region.answered - context_frames)
            last = region.answered + answer_frames + context_frames
            skip = region.answered - first
            yield self._window(
                region,
                Window(first * self._samples_per_frame, last * self._samples_per_frame, skip, answer_frames),
            )

    def _close(self, end_sample: int) -> Iterator[CutWindow]:
        """The region is over; give what is left of it."""
        region, self._region = self._region, None
        if region is None:
            return
        n_samples = end_sample - region.first_sample
        for window in plan_windows(
            n_samples, self._rate_hz, self._samples_per_frame, self._chunking, begin_frame=region.answered
        ):
            yield self._window(region, window, end_sample)

    def _window(self, region: "_Region", window: Window, end_sample: int = 0) -> CutWindow:
        first_frame = window.first_sample // self._samples_per_frame + window.skip_frames
        if window.keep_frames is None:
            self.done_samples = end_sample
        else:
            region.answered = first_frame + window.keep_frames
            self.done_samples = region.first_sample + region.answered * self._samples_per_frame
        offset = region.first_sample - self._audio_first
        return CutWindow(
            self._audio_N[offset + window.first_sample : offset + window.last_sample],
            region.first_sample // self._samples_per_frame + first_frame,
            window.skip_frames,
            window.keep_frames,
            self.done_samples,
        )

    def _forget(self) -> None:
        """Let go of what no window needs any more."""
        needed = self.done_samples - self._samples_per_frame
        if self._region is not None:
            _, context_frames = window_frames(self._rate_hz, self._samples_per_frame, self._chunking)
            answered = self._region.first_sample + self._region.answered * self._samples_per_frame
            needed = min(needed, answered - context_frames * self._samples_per_frame)
        needed = max(needed, self._audio_first)
        self._audio_N = self._audio_N[needed - self._audio_first :].copy()
        self._audio_first = needed


@dataclass
class _Region:
    """Audio without a silence worth a gap, as far as it is known.

    Attributes:
        first_sample: where it begins, on an edge between output frames.
        end_sample: where what is known of it ends.
        answered: its output frames, counted from `first_sample`, that windows already answer for.
    """

    first_sample: int
    end_sample: int
    answered: int = 0
