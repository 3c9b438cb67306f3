"""Long audio in windows that overlap, and their log-probs stitched to one sequence.

Shape legend: N samples, S output frames, V vocabulary.

A bidirectional LSTM needs the future: near the edge of a window it lacks it. So each window is given `context_s` more
audio on both sides than it answers for, and what it says about the context is thrown away. No state is carried from one
window to the next.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from model.errors import OptionError

LONGEST_WINDOW_S = 86_400  # far more than any memory holds


@dataclass(frozen=True)
class ChunkingConfig:
    """How long audio is cut.

    Attributes:
        window_s: the most seconds that the network sees at once.
        context_s: seconds at each inner edge that only serve as context.
    """

    window_s: float = 30.0
    context_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.context_s < self.window_s <= LONGEST_WINDOW_S:
            raise OptionError(
                f"context is 2 × {self.context_s} s; it must be shorter than the window of {self.window_s} s, and that "
                f"at most {LONGEST_WINDOW_S} s"
            )


@dataclass(frozen=True)
class Window:
    """One window.

    Attributes:
        first_sample, last_sample: the audio it sees, `last_sample` excluded.
        skip_frames: output frames of context at its beginning.
        keep_frames: output frames that it answers for; None for "to the end".
    """

    first_sample: int
    last_sample: int
    skip_frames: int
    keep_frames: int | None


def plan_windows(
    n_samples: int, sample_rate_hz: int, samples_per_frame: int, config: ChunkingConfig, *, begin_frame: int = 0
) -> list[Window]:
    """Windows of about equal length that cover `n_samples`; a single one where the audio fits.

    Args:
        n_samples: length of the audio.
        sample_rate_hz: its rate.
        samples_per_frame: samples from one output frame to the next; every inner edge lies on a multiple of it.
        config: the cut.
        begin_frame: the first output frame that is still to be answered for; what is before it is context.

    Raises:
        OptionError: the audio does not fit, and the windows have no output frame beside their context.
    """
    if not begin_frame and n_samples <= config.window_s * sample_rate_hz:
        return [Window(0, n_samples, 0, None)] if n_samples else []
    answer_frames, context_frames = window_frames(sample_rate_hz, samples_per_frame, config)
    total_frames = math.ceil(n_samples / samples_per_frame)
    n_windows = math.ceil((total_frames - begin_frame) / answer_frames)
    edges = [begin_frame + round((total_frames - begin_frame) * index / n_windows) for index in range(n_windows + 1)]
    windows = []
    for begin, end in pairwise(edges):
        first = max(0, begin - context_frames)
        last_sample = min(n_samples, (end + context_frames) * samples_per_frame)
        keep = None if end == total_frames else end - begin
        windows.append(Window(first * samples_per_frame, last_sample, begin - first, keep))
    return windows


def window_frames(sample_rate_hz: int, samples_per_frame: int, config: ChunkingConfig) -> tuple[int, int]:
    """The most output frames that a window among others answers for, and those of its context on each side.

    Raises:
        OptionError: it would answer for none.
    """
    context_frames = math.ceil(config.context_s * sample_rate_hz / samples_per_frame)
    seen_frames = math.floor(config.window_s * sample_rate_hz / samples_per_frame)
    if seen_frames <= 2 * context_frames:
        raise OptionError(
            f"a window of {config.window_s} s is {seen_frames} output frames, "
            f"of which 2 × {context_frames} are context; at least one must be left"
        )
    return seen_frames - 2 * context_frames, context_frames
