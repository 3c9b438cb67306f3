"""Audio files for the tests, in memory: every container that `decode_audio` reads, made by libsndfile and FFmpeg."""

import io
import struct
from collections.abc import Callable

import av
import numpy as np
import soundfile
import soxr

from features.flac_frames import crc8, crc16

SAMPLE_RATE_HZ = 16_000
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def by_soundfile(
    samples: np.ndarray, container: str, encoding: str, rate_hz: int = SAMPLE_RATE_HZ, *, endian: str = "FILE"
) -> bytes:
    """`samples` of shape (N,) or (N, C) through libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=encoding, endian=endian)
    return file.getvalue()


class _Pipe:
    """Takes bytes and cannot go back, as the output of a live recorder."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)


def by_av(
    samples: np.ndarray,
    muxer: str,
    codec: str,
    rate_hz: int = SAMPLE_RATE_HZ,
    *,
    options: dict[str, str] | None = None,
    live: bool = False,
) -> bytes:
    """`samples` of shape (N,) or (N, C) through one of FFmpeg's encoders; `live` writes to a pipe."""
    samples_NC = samples.reshape(len(samples), -1).astype(np.float32)
    layout = LAYOUTS[samples_NC.shape[1]]
    frame = av.AudioFrame.from_ndarray(samples_NC.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate, frame.pts = rate_hz, 0
    file = _Pipe() if live else io.BytesIO()
    with av.open(file, "w", format=muxer, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        form = {"libopus": "flt", "flac": "s16", "alac": "s16p", "ac3": "fltp"}.get(codec, "fltp")
        for converted in av.AudioResampler(format=form, layout=layout, rate=rate_hz).resample(frame):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return bytes(file.written) if isinstance(file, _Pipe) else file.getvalue()


def opus_in_webm(samples_N: np.ndarray, *, live: bool = False) -> bytes:
    """Opus knows few sample rates: 48 kHz."""
    return by_av(soxr.resample(samples_N, SAMPLE_RATE_HZ, 48_000), "webm", "libopus", 48_000, live=live)


def silent_flac(duration_s: int, rate_hz: int = 48_000, *, header_tells: bool = True, channels: int = 1) -> bytes:
    """Silence as FLAC in a few bytes a second, written by hand: an encoder takes minutes for ten hours of it.

    Blocks are of 32,768 samples; `duration_s` is rounded up to whole blocks.
    """
    block = 32_768
    frames = -(-duration_s * rate_hz // block)
    samples = frames * block if header_tells else 0
    packed = rate_hz << 44 | channels - 1 << 41 | 15 << 36 | samples
    sizes = struct.pack(">HH", block, block) + bytes(6)  # the sizes of frames are unknown
    file = bytearray(b"fLaC\x80\x00\x00\x22" + sizes + packed.to_bytes(8, "big") + bytes(16))
    silence = bytes(3 * channels)  # of each channel: "constant", and its 16 bits
    for number in range(frames):
        # 0xF: 32,768 samples; the sample rate as in the header; channels apart; 16 bits
        header = b"\xff\xf8\xf0" + bytes([channels - 1 << 4 | 8]) + flac_number(number)
        header += bytes([crc8(header)])
        file += header + silence + crc16(header + silence).to_bytes(2, "big")
    return bytes(file)


def flac_number(number: int) -> bytes:
    """A frame's number, coded as UTF-8 codes a character."""
    return chr(number).encode("utf-8", "surrogatepass")


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "400000"}

# Each takes mono samples at 16 kHz.
CONTAINERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "wav": lambda x: by_soundfile(x, "WAV", "PCM_16"),
    "flac": lambda x: by_soundfile(x, "FLAC", "PCM_16"),
    "mp3": lambda x: by_soundfile(x, "MP3", "MPEG_LAYER_III"),
    "mp3 by FFmpeg": lambda x: by_av(x, "mp3", "libmp3lame"),
    "mp3 without a count": lambda x: by_av(x, "mp3", "libmp3lame", options={"write_xing": "0"}),
    "ogg vorbis": lambda x: by_soundfile(x, "OGG", "VORBIS"),
    "ogg opus": lambda x: by_soundfile(x, "OGG", "OPUS"),
    "ogg flac": lambda x: by_av(x, "ogg", "flac"),
    "webm opus": opus_in_webm,
    "live webm opus": lambda x: opus_in_webm(x, live=True),
    "m4a aac": lambda x: by_av(x, "ipod", "aac"),
    "m4a alac": lambda x: by_av(x, "ipod", "alac"),
    "fragmented mp4 aac": lambda x: by_av(x, "mp4", "aac", options=FRAGMENTED),
    "adts aac": lambda x: by_av(x, "adts", "aac"),
}


def wav_with_sizes(wav: bytes, riff_bytes: int, data_bytes: int) -> bytes:
    """`wav` with other sizes in its headers."""
    at = wav.index(b"data") + 4
    return wav[:4] + struct.pack("<I", riff_bytes) + wav[8:at] + struct.pack("<I", data_bytes) + wav[at + 4 :]
