"""The length of a FLAC file, also where its header does not tell it (RFC 9639).

Live encoders leave it out, and so may whoever wants hours of silence decoded. The last frame has its number, and two
checksums that make it one.
"""

import os
import struct
from fractions import Fraction

from features.seekable import SeekableFile

TAIL_BYTES = 256 * 1024  # searched for the last frame: the largest usual one has 100 kB
MOST_CANDIDATES = 16  # sync codes whose whole frame is checked; others than the last frame's come by chance

FIXED_BLOCK_SIZES = {
    1: 192,
    **{code: 576 << code - 2 for code in range(2, 6)},
    **{c: 256 << c - 8 for c in range(8, 16)},
}


def flac_duration(file: SeekableFile, start: int) -> Fraction | None:
    """Seconds that a FLAC file says it has, in its header or else in its last frame; None where neither tells.

    Args:
        file: seekable; its position afterwards is undefined.
        start: where the marker `fLaC` stands.
    """
    file.seek(start + 8)
    info = file.read(18)
    if len(info) < 18:
        return None
    largest_block = struct.unpack(">H", info[2:4])[0]
    packed = int.from_bytes(info[10:18], "big")  # 20 bits sample rate, 3 channels, 5 bits a sample, 36 samples
    rate_hz, samples = packed >> 44, packed & (1 << 36) - 1
    if not rate_hz:
        return None
    if not samples:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - TAIL_BYTES))
        samples = _end_of_last_frame(file.read(), largest_block)
    return Fraction(samples, rate_hz) if samples else None


def _end_of_last_frame(tail: bytes, largest_block: int) -> int:
    """Number of the sample behind the frame that ends where `tail` ends; 0 where there is none."""
    candidates, at = 0, len(tail)
    while candidates < MOST_CANDIDATES and (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if tail[at + 1 : at + 2] not in (b"\xf8", b"\xf9"):
            continue
        end = _sample_behind(tail[at : at + 16], largest_block)
        if end:
            candidates += 1
            if crc16(tail[at:-2]) == int.from_bytes(tail[-2:], "big"):
                return end
    return 0


def _sample_behind(header: bytes, largest_block: int) -> int:
    """Number of the sample behind the frame that begins with `header`; 0 where its checksum does not hold."""
    if len(header) < 6:
        return 0
    by_samples, size_code, rate_code = header[1] & 1, header[2] >> 4, header[2] & 15
    number_bytes = max(1, 8 - (~header[4] & 0xFF).bit_length())  # as in UTF-8, but up to 36 bits
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    rate_bytes = {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    end = 4 + number_bytes + size_bytes + rate_bytes
    if len(header) <= end or crc8(header[:end]) != header[end]:
        return 0
    number = header[4] & (0x7F >> number_bytes if number_bytes > 1 else 0x7F)
    for byte in header[5 : 4 + number_bytes]:
        number = number << 6 | byte & 0x3F
    if size_bytes:
        block = 1 + int.from_bytes(header[4 + number_bytes : 4 + number_bytes + size_bytes], "big")
    else:
        block = FIXED_BLOCK_SIZES.get(size_code, 0)
    return number + block if by_samples else number * largest_block + block


def _table(polynomial: int, bits: int) -> list[int]:
    table = []
    for byte in range(256):
        register = byte << bits - 8
        for _ in range(8):
            register = register << 1 ^ (polynomial if register >> bits - 1 & 1 else 0)
        table.append(register & (1 << bits) - 1)
    return table


CRC8_TABLE, CRC16_TABLE = _table(0x107, 8), _table(0x1_8005, 16)


def crc8(data: bytes) -> int:
    """Checksum of a frame's header: x^8 + x^2 + x + 1, from 0."""
    register = 0
    for byte in data:
        register = CRC8_TABLE[register ^ byte]
    return register


def crc16(data: bytes) -> int:
    """Checksum of a whole frame: x^16 + x^15 + x^2 + 1, from 0."""
    register = 0
    for byte in data:
        register = register << 8 & 0xFF00 ^ CRC16_TABLE[register >> 8 ^ byte]
    return register
