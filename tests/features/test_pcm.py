"""Headerless samples, against libsndfile."""

import io
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from features.pcm import Encoding, SampleDecoder

SUBTYPES: dict[Encoding, str] = {"pcm16": "PCM_16", "mulaw": "ULAW", "alaw": "ALAW"}


@pytest.mark.parametrize("encoding", SUBTYPES)
def test_every_code_is_what_libsndfile_reads(encoding: Encoding) -> None:
    data = bytes(range(256)) if encoding != "pcm16" else np.arange(-32768, 32768, dtype="<i2").tobytes()
    expected, _ = soundfile.read(
        io.BytesIO(data),
        channels=1,
        samplerate=8000,
        format="RAW",
        subtype=SUBTYPES[encoding],
        endian="LITTLE",
        dtype="float32",
    )
    decoded = SampleDecoder(encoding).feed(data)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, expected)


@settings(deadline=None)
@given(
    data=st.binary(max_size=50), cuts=st.lists(st.integers(0, 50), max_size=5), encoding=st.sampled_from([*SUBTYPES])
)
def test_pieces_give_the_samples_of_the_whole(data: bytes, cuts: list[int], encoding: Encoding) -> None:
    decoder = SampleDecoder(encoding)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [decoder.feed(data[begin:end]) for begin, end in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(pieces), SampleDecoder(encoding).feed(data))


def test_after_flush_half_a_sample_is_forgotten() -> None:
    decoder = SampleDecoder()
    assert len(decoder.feed(b"\x01")) == 0
    decoder.flush()
    np.testing.assert_array_equal(decoder.feed(b"\x00\x40"), np.array([0.5], np.float32))
