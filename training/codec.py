"""Lossy codecs as augmentation: speech as a voice message or a low-rate mp3 would bring it, in memory.

Shape legend: N samples.
"""

from typing import Literal

import av
import numpy as np
import soxr

from features.audio import SAMPLE_RATE_HZ

Codec = Literal["mp3", "opus"]

# Encoder, its sample format, what it is told, and the decoder that gives floats. Encoders are set to be fast: with the
# defaults they take two to four times as long, and what matters here, the loss, is no smaller for it.
CODECS: dict[Codec, tuple[str, str, dict[str, str], str]] = {
    "mp3": ("libmp3lame", "fltp", {"compression_level": "7"}, "mp3float"),
    "opus": ("libopus", "flt", {"compression_level": "0", "application": "voip", "frame_duration": "60"}, "opus"),
}
MIN_KBPS, MAX_KBPS = 6, 64  # Opus begins at 6; mp3 at 16 kHz knows 8, 16, 24 … 64 and takes the nearest


def recode(samples_N: np.ndarray, codec: Codec, kbps: int) -> np.ndarray:
    """Encode and decode again: what the codec loses is lost, length and timing stay.

    The delay of the encoder is taken out by the decoder, to which FFmpeg's encoder hands it: for mp3 with the first
    packet, for Opus in the header (`extradata`). No container stands between them, for one may lose it: the mp3 files
    that libsndfile writes at 32 kbit/s and below have no tag that records it, and come back 69 ms late.

    Args:
        samples_N: shape (N,), float32 at 16 kHz.
        codec: `mp3` or `opus`.
        kbps: bit rate in kbit/s, `MIN_KBPS` to `MAX_KBPS`.

    Returns:
        As many samples, float32, aligned with the input to less than 1 ms.
    """
    encoder_name, sample_format, options, decoder_name = CODECS[codec]
    encoder = av.CodecContext.create(encoder_name, "w")
    decoder = av.CodecContext.create(decoder_name, "r")
    assert isinstance(encoder, av.AudioCodecContext) and isinstance(decoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE_HZ, "mono", sample_format
    encoder.bit_rate, encoder.options = kbps * 1000, options
    frame = av.AudioFrame.from_ndarray(samples_N.reshape(1, -1), format=sample_format, layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder.extradata = encoder.extradata
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    decoded_N = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    if frames[0].sample_rate != SAMPLE_RATE_HZ:  # Opus always decodes to 48 kHz
        decoded_N = soxr.resample(decoded_N, frames[0].sample_rate, SAMPLE_RATE_HZ, quality="LQ")
    out_N = np.zeros_like(samples_N)
    kept = min(len(out_N), len(decoded_N))
    out_N[:kept] = decoded_N[:kept]
    return out_N
