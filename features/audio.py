"""Audio files of any supported container become mono float32 samples at 16 kHz.

This is the only file that knows a codec: soundfile (libsndfile) reads wav, flac and vorbis, PyAV (FFmpeg) reads mp3,
opus, webm, mp4 and aac, soxr resamples. Everything goes block by block, so that a limit on the duration is a limit on
memory too.

Letters in names: N samples in time, C channels.
"""

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
import soundfile
import soxr

from features.containers import Container, Kind, inspect_container
from features.errors import (
    AudioParameterError,
    CorruptAudioError,
    EmptyAudioError,
    UnsupportedAudioError,
)
from features.limits import AudioLimits, AudioMeter
from features.samples import check_samples
from features.seekable import AskingFile

SAMPLE_RATE_HZ = 16_000  # of every Waveform that is decoded here
BLOCK_FRAMES = 65_536  # handed on at a time: 2 MiB for 8 channels

# FFmpeg knows several hundred formats, playlists that open other files among them. It is told which one to use, never
# asked to guess, and gets only these decoders.
DEMUXERS: dict[Kind, str] = {
    "wav": "wav",
    "mp3": "mp3",
    "ogg": "ogg",
    "webm": "matroska",
    "mp4": "mov",
    "aac": "aac",
}
LOSSY_DECODERS = {"aac", "mp2", "mp2float", "mp3", "mp3float", "libopus", "opus", "libvorbis", "vorbis"}
LOSSLESS_DECODERS = {"alac", "flac", "pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"}
DECODERS = LOSSY_DECODERS | LOSSLESS_DECODERS | {"pcm_alaw", "pcm_mulaw", "pcm_s16be", "pcm_s24be"}
AV_OPTIONS = {
    "codec_whitelist": ",".join(sorted(DECODERS)),
    "protocol_whitelist": "none",  # no file and no address that the upload names is ever opened
    # An edit list can name every sample many times over, and FFmpeg would write all of that down in memory. Without
    # expanding it, the start of the audio is still found.
    "advanced_editlist": "0",
}

# FFmpeg reads the length of these in the file; that of bare frames it only guesses from the size.
KINDS_THAT_TELL_FFMPEG = ("ogg", "webm", "mp4")

NO_LIMITS = AudioLimits()
LIBSNDFILE_FRAMES_UNKNOWN = 2**63 - 1  # SF_COUNT_MAX


@dataclass(frozen=True)
class Waveform:
    """Mono audio.

    Attributes:
        samples_N: shape (N,), float32, C-contiguous, finite, about -1..1 (lossy codecs overshoot a little).
        sample_rate_hz: samples per second.

    Raises:
        AudioParameterError: another shape or type, a sample above 2³¹, or a sample rate that is not positive.
        NonFiniteAudioError: NaN or infinite samples.
    """

    samples_N: np.ndarray
    sample_rate_hz: int = SAMPLE_RATE_HZ

    def __post_init__(self) -> None:
        samples_N = self.samples_N
        if samples_N.ndim != 1 or samples_N.dtype != np.float32 or not samples_N.flags.c_contiguous:
            raise AudioParameterError(
                f"samples of type {samples_N.dtype} and shape {samples_N.shape}; wanted contiguous float32 (N,)"
            )
        if self.sample_rate_hz <= 0:
            raise AudioParameterError(f"sample rate {self.sample_rate_hz} Hz; it has to be positive")
        check_samples(samples_N, 0, self.sample_rate_hz)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples_N) / self.sample_rate_hz


# What a file is read from: its bytes, a path to it, or a file descriptor, as `open` takes it (closed at the end).
Source = bytes | str | os.PathLike[str] | int


def decode_audio(source: Source, *, max_duration_s: float | None = None) -> Waveform:
    """Decode an audio file to mono (the mean of its channels) float32 at 16 kHz.

    Reads wav (8, 16, 24, 32-bit, float, µ-law, A-law), flac, mp3, ogg (vorbis, opus, flac), webm and mp4/m4a (their
    first audio stream) and aac, 8 to 192 kHz, 1 to 8 channels. The kind is told by content, never by a file name.
    What an encoder put before and after the sound is removed where the container records it (mp3 with a LAME header,
    opus, vorbis, the start of m4a); bare aac keeps its 1024 samples of delay.

    Args:
        source: the file.
        max_duration_s: refuse audio that is longer; None for no limit. Checked while decoding, block by block, and
            before it where a header already tells the length.

    Raises:
        EmptyAudioError: no bytes, or no samples.
        UnsupportedAudioError: not audio, or a container or codec that is not read.
        CorruptAudioError: truncated or damaged. `features.containers` says what cannot be seen.
        NonFiniteAudioError: NaN or infinite samples.
        AudioParameterError: sample rate, channel count, level or `max_duration_s` outside the supported range.
        AudioTooLongError: longer than `max_duration_s`.
        OSError: a path that cannot be opened or read, as `open` raises it (FileNotFoundError and so on).
    """
    with open_audio(source, AudioLimits(max_duration_s=max_duration_s)) as blocks:
        return Waveform(np.concatenate(list(blocks)))


class AudioBlocks:
    """An `AudioStream` (`features.audio_stream`) that is decoded as it is iterated over.

    The blocks one after another are what `decode_audio` gives, so that audio of any length takes the memory of one
    block.
    """

    def __init__(self, file: BinaryIO, blocks: Iterator[np.ndarray], kind: Kind, meter: AudioMeter) -> None:
        self._file = file
        self._size = max(1, file.seek(0, os.SEEK_END))
        self._blocks = blocks
        self._kind = kind
        self._meter = meter

    @property
    def duration_s(self) -> float | None:
        """As in `AudioStream`."""
        return self._meter.claimed_s

    @property
    def share_read(self) -> float:
        """As in `AudioStream`."""
        return min(1.0, self._file.tell() / self._size)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks of about `BLOCK_FRAMES` samples, the last one shorter, none of them empty; to be taken once."""
        n_samples, waiting = 0, list[np.ndarray]()
        for block_N in self._blocks:
            check_samples(block_N, n_samples / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
            n_samples += len(block_N)
            waiting.append(block_N)
            if sum(map(len, waiting)) >= BLOCK_FRAMES:
                yield np.concatenate(waiting)
                waiting = []
        if not n_samples:
            raise EmptyAudioError(f"the {self._kind} holds no samples")
        if any(map(len, waiting)):
            yield np.concatenate(waiting)


@contextmanager
def open_audio(
    source: Source, limits: AudioLimits = NO_LIMITS, *, go_on: Callable[[], None] = lambda: None
) -> Iterator[AudioBlocks]:
    """Decode an audio file piece by piece, `with` the file open: `for block_N in blocks`.

    Args:
        source: the file.
        limits: what is refused; enforced while decoding, and before it where the file itself tells.
        go_on: called often while the file's structure is looked at, which takes 0.3 s for three hours of mp3; what it
            raises ends that. Whoever takes the blocks can stop between them.

    Raises:
        AudioTooLargeError: more decoded bytes than `limits` allow. All other errors are those of `decode_audio`: what
            is wrong with the file as a whole at once, what is wrong inside when the iteration gets there.
    """
    with ExitStack() as stack:
        if isinstance(source, bytes):
            file: BinaryIO = io.BytesIO(source)
        else:
            file = stack.enter_context(_Nameless(_unbuffered(source)))
            if not file.seekable():  # a pipe
                file = io.BytesIO(file.read())
        container, meter = inspect_container(AskingFile(file, go_on)), AudioMeter(limits)
        if container.duration_s is not None:
            meter.claim(container.duration_s)
        if container.kind in ("wav", "flac", "vorbis") and not container.open_ended:
            decoded = _blocks_by_soundfile(file, container, meter)
        else:
            decoded = _gathered(_blocks_by_av(file, container, meter))
        yield AudioBlocks(file, _resample(_mono(decoded, meter)), container.kind, meter)


class _Nameless(io.BufferedReader):
    """A file that keeps its name to itself: both libraries would draw conclusions from it (soundfile from ".raw")."""

    @property
    def name(self) -> str:
        return ""


# What the steps below hand on: the sample rate with each block. In a block_NC every column is a channel.
Blocks = Iterator[tuple[int, np.ndarray]]


def _gathered(blocks: Blocks) -> Blocks:
    """The same samples in blocks of about `BLOCK_FRAMES`: packets hold 20 to 40 ms, and every step costs per block."""
    waiting, n_frames, form = list[np.ndarray](), 0, (SAMPLE_RATE_HZ, 1)
    for rate_hz, block_NC in blocks:
        if waiting and (n_frames >= BLOCK_FRAMES or form != (rate_hz, block_NC.shape[1])):
            yield form[0], np.concatenate(waiting)
            waiting, n_frames = [], 0
        waiting.append(block_NC)
        n_frames += len(block_NC)
        form = rate_hz, block_NC.shape[1]
    if waiting:
        yield form[0], np.concatenate(waiting)


def _resample(blocks: Blocks) -> Iterator[np.ndarray]:
    """Mono blocks at any rate → mono blocks at 16 kHz, low-pass filtered below 8 kHz first (soxr, "HQ")."""
    stream, stream_rate_hz = None, SAMPLE_RATE_HZ
    for rate_hz, mono_N in blocks:
        if rate_hz != stream_rate_hz:  # at the start, and where bare aac changes its rate
            if stream is not None:
                yield stream.resample_chunk(mono_N[:0], last=True)
            stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
            stream_rate_hz = rate_hz
        yield mono_N if stream is None else stream.resample_chunk(mono_N)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _mono(blocks: Blocks, meter: AudioMeter) -> Blocks:
    """Blocks of any number of channels → mono blocks; every limit on what is decoded is enforced here."""
    for rate_hz, block_NC in blocks:
        start_s = float(meter.decoded_s)
        meter.count(len(block_NC), rate_hz, block_NC.shape[1])
        check_samples(block_NC, start_s, rate_hz)
        one = block_NC.shape[1] == 1
        yield rate_hz, block_NC[:, 0] if one else block_NC.mean(axis=1, dtype=np.float64).astype(np.float32)


def _unbuffered(source: str | os.PathLike[str] | int) -> io.FileIO:
    if isinstance(source, int) and not 0 <= source < 2**31:
        raise OSError(errno.EBADF, "no file descriptor", source)
    try:
        return io.FileIO(source)
    except ValueError as error:  # a zero byte in a name
        raise FileNotFoundError(errno.ENOENT, str(error), source) from error


class _ForwardSoundFile(soundfile.SoundFile):
    """soundfile's reader, but without its seek after every block and without its trust in the header's length."""

    def seekable(self) -> bool:
        return False


def _blocks_by_soundfile(file: BinaryIO, container: Container, meter: AudioMeter) -> Blocks:
    kind = container.kind
    file.seek(0)
    try:
        sound = _ForwardSoundFile(file)
    except soundfile.LibsndfileError as error:
        if kind == "wav":  # FFmpeg knows some encodings that libsndfile does not, and names those that it does not
            yield from _blocks_by_av(file, container, meter)
            return
        raise CorruptAudioError(f"the {kind} has a damaged header: {error.error_string}") from error
    with sound:
        rate_hz, claimed_frames, frames = sound.samplerate, sound.frames, 0
        meter.check_form(rate_hz, sound.channels)
        # libsndfile takes a tag behind the last frame for a frame that is damaged.
        most = claimed_frames if container.tag_behind else LIBSNDFILE_FRAMES_UNKNOWN
        length_is_known = claimed_frames < LIBSNDFILE_FRAMES_UNKNOWN
        if length_is_known:
            meter.claim(Fraction(claimed_frames, rate_hz), rate_hz, sound.channels)
        try:
            while len(block_NC := sound.read(min(BLOCK_FRAMES, most - frames), dtype="float32", always_2d=True)):
                frames += len(block_NC)
                yield rate_hz, block_NC
        except soundfile.LibsndfileError as error:
            raise CorruptAudioError(
                f"the {kind} is damaged after {frames / rate_hz:.2f} s: {error.error_string}"
            ) from error
    if length_is_known and frames < claimed_frames:
        raise CorruptAudioError(f"the {kind} is truncated: {frames} of {claimed_frames} samples a channel are there")


def _blocks_by_av(file: BinaryIO, container: Container, meter: AudioMeter) -> Blocks:
    kind = container.kind
    file.seek(0)
    try:
        with av.open(file, "r", format=DEMUXERS[kind], options=AV_OPTIONS, metadata_errors="ignore") as opened:
            if not opened.streams.audio:
                raise UnsupportedAudioError(f"the {kind} has no audio stream")
            stream = opened.streams.audio[0]
            decoder = stream.codec_context.name if stream.codec_context else "unknown"
            if decoder not in DECODERS:
                raise UnsupportedAudioError(f"the {kind} holds audio in a codec that is not read: {decoder}")
            if kind in KINDS_THAT_TELL_FFMPEG and (claimed_s := _told_by_av(opened, stream)) is not None:
                meter.claim(claimed_s, stream.rate or 0, stream.channels or 0)
            interleaver, interleaver_form = av.AudioResampler(format="flt"), None
            for frame in opened.decode(stream):
                channels = frame.layout.nb_channels
                meter.check_form(frame.sample_rate, channels)
                if channels == 1 and frame.format.name in ("flt", "fltp"):  # as it is wanted
                    # What to_ndarray gives, in a tenth of its time; an MP3 has some 40 frames a second.
                    plane: Any = frame.planes[0]  # a buffer, which PyAV's stubs do not say
                    plane_N = np.frombuffer(plane, np.float32, count=frame.samples)
                    yield frame.sample_rate, plane_N.reshape(-1, 1)
                    continue
                # PyAV (18.1) reads past the pointers of a frame that holds 8 or more channels in separate planes: the
                # samples are put side by side, as float32, before it looks at them.
                form = (frame.sample_rate, frame.layout.name, frame.format.name)
                if form != interleaver_form:
                    interleaver, interleaver_form = av.AudioResampler(format="flt"), form
                for interleaved in interleaver.resample(frame):
                    yield frame.sample_rate, interleaved.to_ndarray().reshape(-1, channels)
    except av.error.PatchWelcomeError as error:
        raise UnsupportedAudioError(f"the {kind} uses something that FFmpeg does not support") from error
    except av.FFmpegError as error:
        raise CorruptAudioError(f"the {kind} is damaged: {error.strerror}") from error


def _told_by_av(opened: av.container.InputContainer, stream: av.AudioStream) -> Fraction | None:
    """Seconds that the audio stream has by its own header, or else the file (webm)."""
    if stream.duration is not None and stream.time_base is not None:
        return max(Fraction(0), stream.duration * stream.time_base)
    return max(Fraction(0), Fraction(opened.duration, av.time_base)) if opened.duration is not None else None
