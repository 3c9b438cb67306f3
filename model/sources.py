"""What a transcriber takes as audio: files, their bytes, samples that are in memory, and samples that are on the way.

Shape legend: N samples.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from features.audio import Waveform, decode_audio, open_audio
from features.audio_stream import AudioStream
from features.errors import AudioParameterError, AudioTooLongError
from features.limits import AudioLimits
from model.cancellation import CancelToken, check

Audio = bytes | str | os.PathLike[str] | Waveform  # an audio file's bytes, a path to one, or samples
WAVEFORM_BLOCK_S = 10  # of samples that are decoded already, taken at a time


@contextmanager
def opened(
    audio: Audio | AudioStream,
    sample_rate_hz: int,
    *,
    max_duration_s: float | None = None,
    cancelled: CancelToken | None = None,
) -> Iterator[AudioStream]:
    """The samples in pieces, while the block runs.

    Args:
        audio: whoever opened an `AudioStream` closes it, and has set its limits.
        sample_rate_hz: what samples have to have.
        max_duration_s: the most seconds accepted.
        cancelled: asked while a file's structure is looked at; whoever takes the pieces can ask between them.

    Raises:
        features.errors.AudioError: the audio cannot be used; its subclasses say why.
        WorkCancelledError: `cancelled` was cancelled.
        OSError: the path cannot be opened.
    """
    if isinstance(audio, Waveform):
        yield WaveformBlocks(as_waveform(audio, max_duration_s), sample_rate_hz)
    elif isinstance(audio, bytes | str | os.PathLike):
        limits = AudioLimits(max_duration_s=max_duration_s)
        with open_audio(audio, limits, go_on=partial(check, cancelled)) as blocks:
            yield blocks
    elif isinstance(audio, AudioStream):
        yield audio
    else:
        raise AudioParameterError(f"{type(audio).__name__} is no audio; bytes, a path, a Waveform or a stream is")


def as_waveform(audio: Audio, max_duration_s: float | None = None) -> Waveform:
    """All samples at once; arguments and errors as in `opened`."""
    if not isinstance(audio, Waveform):
        return decode_audio(audio, max_duration_s=max_duration_s)
    AudioLimits(max_duration_s=max_duration_s)  # raises where it is none
    if max_duration_s is not None and audio.duration_s > max_duration_s:
        raise AudioTooLongError(f"the audio lasts {audio.duration_s:g} s, more than the limit of {max_duration_s:g} s")
    return audio


class WaveformBlocks:
    """An `AudioStream` of samples that are in memory already.

    Args:
        waveform: these.
        sample_rate_hz: what they have to have.

    Raises:
        AudioParameterError: they have another.
    """

    def __init__(self, waveform: Waveform, sample_rate_hz: int) -> None:
        if waveform.sample_rate_hz != sample_rate_hz:
            raise AudioParameterError(
                f"the waveform has {waveform.sample_rate_hz} Hz; the model hears {sample_rate_hz} Hz"
            )
        self._samples_N = waveform.samples_N
        self._block = WAVEFORM_BLOCK_S * sample_rate_hz
        self._read = 0
        self.duration_s = waveform.duration_s

    @property
    def share_read(self) -> float:
        """As in `AudioStream`."""
        return self._read / max(1, len(self._samples_N))

    def __iter__(self) -> Iterator[np.ndarray]:
        """As in `AudioStream`."""
        while self._read < len(self._samples_N):
            block_N = self._samples_N[self._read : self._read + self._block]
            self._read += len(block_N)
            yield block_N
