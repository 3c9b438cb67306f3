"""Samples as bytes without a header: what a microphone, a telephone line or a socket sends.

Shape legend: N samples.
"""

from typing import Literal

import numpy as np

Encoding = Literal["pcm16", "mulaw", "alaw"]


class SampleDecoder:
    """Bytes in pieces of any size → samples in -1..1; half a sample at the end of a piece waits for the next one.

    Args:
        encoding: `"pcm16"`, signed 16 bits, little-endian; `"mulaw"` or `"alaw"`, 8 bits each (ITU-T G.711).

    Attributes:
        encoding: as given.
    """

    def __init__(self, encoding: Encoding = "pcm16") -> None:
        self.encoding = encoding
        self._rest = b""

    def feed(self, data: bytes) -> np.ndarray:
        """Take bytes; return the samples that are complete with them, float32."""
        if self.encoding != "pcm16":
            table = MULAW_256 if self.encoding == "mulaw" else ALAW_256
            return table[np.frombuffer(data, np.uint8)]
        data = self._rest + data
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        return np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768)

    def flush(self) -> None:
        """The stream is over: forget half a sample."""
        self._rest = b""


def _mulaw() -> np.ndarray:
    """What each byte stands for, by G.711's µ-law: all bits inverted; sign, exponent, and a mantissa of four bits."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(int), (code & 15).astype(int)
    magnitude = ((2 * mantissa + 33) << exponent + 2) - 132
    return _signed(magnitude, negative=code & 128 != 0)


def _alaw() -> np.ndarray:
    """The same by A-law: every other bit inverted; an exponent of 0 is linear."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(int), (code & 15).astype(int)
    magnitude = np.where(exponent == 0, (2 * mantissa + 1) << 3, (2 * mantissa + 33) << exponent + 2)
    return _signed(magnitude, negative=code & 128 == 0)


def _signed(magnitude: np.ndarray, *, negative: np.ndarray) -> np.ndarray:
    return (np.where(negative, -magnitude, magnitude) / 32768).astype(np.float32)


MULAW_256 = _mulaw()
ALAW_256 = _alaw()
