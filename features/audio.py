"""Audio files of any supported container become mono float32 samples at 16 kHz.

The only file that knows a codec. soundfile (libsndfile) reads wav, flac, mp3 and ogg; PyAV (FFmpeg) reads webm,
m4a/mp4 and aac, and what soundfile declines; soxr resamples. Everything runs block by block, so a limit on the
duration is also a limit on memory.
"""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np
import soundfile
import soxr

from features.errors import (
    AudioParameterError,
    AudioTooLongError,
    CorruptAudioError,
    EmptyAudioError,
    NonFiniteAudioError,
    UnsupportedAudioError,
)

SAMPLE_RATE_HZ = 16_000
MIN_INPUT_RATE_HZ = 8_000
MAX_INPUT_RATE_HZ = 192_000
MAX_INPUT_CHANNELS = 8
BLOCK_FRAMES = 65_536  # decoded at a time: 8 channels of float32 are 2 MiB


@dataclass(frozen=True)
class Waveform:
    """Mono audio.

    Attributes:
        samples_N: shape (N,), float32, C-contiguous, about -1..1.
        sample_rate_hz: samples in a second.
    """

    samples_N: np.ndarray
    sample_rate_hz: int = SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples_N) / self.sample_rate_hz


def decode_audio(source: bytes | str | os.PathLike[str], *, max_duration_s: float | None = None) -> Waveform:
    """Decode `source` (the bytes of an audio file, or a path to one) to mono float32 at 16 kHz.

    Raises the family of `features.errors.AudioError`; a path that cannot be opened raises OSError.
    """
    with ExitStack() as stack:
        file: BinaryIO = (
            io.BytesIO(source) if isinstance(source, bytes) else stack.enter_context(open(source, "rb"))
        )
        head = file.read(4096)
        file.seek(0)
        if not head:
            raise EmptyAudioError("the audio is empty: 0 bytes")
        demuxer = _demuxer(head)
        blocks = _blocks_by_av(file, demuxer) if demuxer else _blocks_by_soundfile(file)
        mono_blocks = []
        resampler = None
        frames = 0
        for rate_hz, block_NC in blocks:
            if not np.isfinite(block_NC).all():
                raise NonFiniteAudioError(f"NaN or infinite sample near {frames / rate_hz:.2f} s")
            frames += len(block_NC)
            if max_duration_s is not None and frames > max_duration_s * rate_hz:
                raise AudioTooLongError(f"the audio is longer than the limit of {max_duration_s:g} s")
            mono_N = block_NC.mean(axis=1, dtype=np.float32)
            if rate_hz != SAMPLE_RATE_HZ:
                resampler = resampler or soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, "float32", "HQ")
                mono_N = resampler.resample_chunk(mono_N)
            mono_blocks.append(mono_N)
        if resampler is not None:
            mono_blocks.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    samples_N = np.concatenate([np.zeros(0, np.float32), *mono_blocks])
    if not len(samples_N):
        raise EmptyAudioError("the audio holds no samples")
    return Waveform(samples_N)


def _demuxer(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    if head[:4] in (b"RIFF", b"RF64", b"fLaC", b"OggS") or head[:3] == b"ID3" or head[0] == 0xFF:
        return None
    raise UnsupportedAudioError("not an audio file of a supported kind")


def _check_parameters(rate_hz: int, channels: int) -> None:
    if not MIN_INPUT_RATE_HZ <= rate_hz <= MAX_INPUT_RATE_HZ:
        raise AudioParameterError(
            f"sample rate {rate_hz} Hz is outside {MIN_INPUT_RATE_HZ}..{MAX_INPUT_RATE_HZ} Hz"
        )
    if not 1 <= channels <= MAX_INPUT_CHANNELS:
        raise AudioParameterError(f"{channels} channels are outside 1..{MAX_INPUT_CHANNELS}")


class _ForwardSoundFile(soundfile.SoundFile):
    """soundfile seeks after every read, which makes mp3 and opus decode their pre-roll again; this one only goes on."""

    def seekable(self) -> bool:
        return False


def _blocks_by_soundfile(file: BinaryIO) -> Iterator[tuple[int, np.ndarray]]:
    try:
        with _ForwardSoundFile(file) as sound:
            _check_parameters(sound.samplerate, sound.channels)
            while len(block_NC := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                yield sound.samplerate, block_NC
    except soundfile.LibsndfileError as error:
        raise CorruptAudioError(f"the audio cannot be decoded: {error}") from error


def _blocks_by_av(file: BinaryIO, demuxer: str) -> Iterator[tuple[int, np.ndarray]]:
    try:
        with av.open(file, format=demuxer) as container:
            if not container.streams.audio:
                raise UnsupportedAudioError("the container holds no audio stream")
            to_float = av.AudioResampler(format="fltp")
            for frame in container.decode(container.streams.audio[0]):
                _check_parameters(frame.sample_rate, frame.layout.nb_channels)
                for converted in to_float.resample(frame):
                    yield converted.sample_rate, converted.to_ndarray().T
    except av.FFmpegError as error:
        raise CorruptAudioError(f"the audio cannot be decoded: {error}") from error
