"""Headers of bare MPEG audio frames: the mp3 and aac files that have no container around their frames.

ISO/IEC 11172-3 and 13818-3 (mp3), 14496-3 (ADTS aac).
"""

import struct
from fractions import Fraction

# Bit rate in kbit/s by version (1: MPEG 1, 2: MPEG 2 and 2.5), layer and index. Index 0 is "free", 15 is forbidden.
KBIT = {
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# Sample rates by the version's two bits in the header: MPEG 1, MPEG 2, MPEG 2.5.
MPEG_1 = 3
RATES_HZ = {MPEG_1: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}

# Sample rates of ADTS by their index, and samples of each channel in a frame.
ADTS_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
ADTS_FRAME_SAMPLES = 1024


def mp3_frame_bytes(header: bytes) -> int:
    """Length of the frame of layer 2 or 3 that begins with `header` (its first 4 bytes or more); 0 if none does.

    Layer 1 is left out on purpose: its sync word is also the byte order mark of UTF-16 text, and nobody sends it. So
    are frames of free bit rate, whose length the header does not tell.
    """
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbit_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in RATES_HZ or layer not in (2, 3) or kbit_index in (0, 15) or rate_index == 3:
        return 0
    kbit = KBIT[1 if version == MPEG_1 else 2, layer][kbit_index]
    return _mp3_frame_samples(version, layer) // 8 * kbit * 1000 // RATES_HZ[version][rate_index] + padding


def mp3_frame_s(header: bytes) -> Fraction:
    """Seconds of the frame that begins with `header`, of which `mp3_frame_bytes` says that one does."""
    version, layer, rate_index = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3), header[2] >> 2 & 3
    return Fraction(_mp3_frame_samples(version, layer), RATES_HZ[version][rate_index])


def _mp3_frame_samples(version: int, layer: int) -> int:
    return 576 if version != MPEG_1 and layer == 3 else 1152


def xing_frames(first_frame: bytes) -> int | None:
    """Number of frames that follow, by the Xing or Info header in the first frame (48 bytes of it); None without one.

    The header stands behind 9, 17 or 32 bytes of side information, by version and number of channels.
    """
    for at in (4 + 9, 4 + 17, 4 + 32):
        if first_frame[at : at + 4] in (b"Xing", b"Info") and len(first_frame) >= at + 12:
            flags, frames = struct.unpack(">II", first_frame[at + 4 : at + 12])
            return int(frames) if flags & 1 else None
    return None


def adts_frame_bytes(header: bytes) -> int:
    """Length of the ADTS frame that begins with `header` (its first 6 bytes or more); 0 if none does."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    frame_bytes = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return frame_bytes if frame_bytes >= 7 else 0


def adts_frame_s(header: bytes) -> Fraction:
    """Seconds of the frame that begins with `header`, of which `adts_frame_bytes` says that one does.

    0 where it names no sample rate. A frame may hold up to four of these lengths; no encoder makes such.
    """
    rate_index = header[2] >> 2 & 15
    return Fraction(ADTS_FRAME_SAMPLES, ADTS_RATES_HZ[rate_index]) if rate_index < len(ADTS_RATES_HZ) else Fraction(0)
