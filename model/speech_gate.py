"""What of a stream the network is given: everything but what is certainly silent, as soon as it is there.

Shape legend: N samples.

Whether somebody may be speaking is known half a second to a second late (`features.speech_detection`). Where speech
begins that delay is paid, and what was held back is given at once; after that every block is given as it comes, until
the detector is certain of a silence.
"""

from dataclasses import dataclass

import numpy as np

from features.speech_detection import Span, SpeechDetectionConfig, SpeechDetector


@dataclass(frozen=True)
class GatedAudio:
    """One step of what the network is given.

    Attributes:
        first_sample: where `samples_N` begin, counted from the stream's beginning.
        samples_N: what it is given; perhaps nothing, where a stretch only ends.
        begins: whether a stretch begins here, which has nothing to do with what was before.
        ends_at: the sample at which the stretch ends; what was given after it is to be forgotten. None where it goes
            on.
    """

    first_sample: int
    samples_N: np.ndarray
    begins: bool = False
    ends_at: int | None = None


class SpeechGate:
    """Takes audio in blocks and gives on what may be speech.

    The state is bounded: the audio that the detector has not judged yet, and the detector's own.

    Args:
        samples_per_frame: every stretch begins at a multiple of these.
        detection: what may be speech; None gives everything on.
    """

    def __init__(self, samples_per_frame: int, detection: SpeechDetectionConfig | None) -> None:
        self._samples_per_frame = samples_per_frame
        self._detector = SpeechDetector(detection) if detection else None
        self._start()

    def _start(self) -> None:
        self._held_N = np.zeros(0, np.float32)
        self._held_first = 0  # number of the first sample that is held
        self._given = 0  # while open: everything before this was given on
        self._open = False

    @property
    def _now(self) -> int:
        return self._held_first + len(self._held_N)

    def feed(self, samples_N: np.ndarray) -> list[GatedAudio]:
        """Take samples; return what the network is to be given now."""
        self._held_N = np.concatenate([self._held_N, samples_N])
        if self._detector is None:
            spans = [Span(self._now - len(samples_N), self._now, True)]
        else:
            spans = self._detector.feed(samples_N)
        steps = self._follow(spans)
        if self._open and self._given < self._now:
            steps.append(self._give(self._now))
        return steps

    def flush(self) -> list[GatedAudio]:
        """End of the audio: return the rest, and be ready for other audio, whose first sample is 0 again."""
        steps = self._follow(self._detector.flush() if self._detector else [])
        if self._open:
            steps.append(self._give(self._now, ends_at=self._now))
        self._start()
        return steps

    def _follow(self, spans: list[Span]) -> list[GatedAudio]:
        steps = []
        for span in spans:
            if span.speech and not self._open:
                first = span.first_sample // self._samples_per_frame * self._samples_per_frame
                self._given, self._open = first, True
                steps.append(self._give(span.last_sample, begins=True))
            elif not span.speech and self._open:
                steps.append(self._give(max(self._given, span.first_sample), ends_at=span.first_sample))
                self._open = False
            # The next stretch may begin up to a frame before what is judged.
            needed = span.last_sample - self._samples_per_frame
            self._forget(min(needed, self._given) if self._open else needed)
        return steps

    def _give(self, until: int, *, begins: bool = False, ends_at: int | None = None) -> GatedAudio:
        first, self._given = self._given, until
        samples_N = self._held_N[first - self._held_first : until - self._held_first]
        return GatedAudio(first, samples_N, begins, ends_at)

    def _forget(self, before: int) -> None:
        forgotten = max(0, before - self._held_first)
        self._held_N = self._held_N[forgotten:].copy()
        self._held_first += forgotten
