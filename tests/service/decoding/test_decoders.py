"""Decoding in other processes: the same samples and the same errors as here, and processes that die, hang or lie."""

import contextlib
import io
import json
import os
import signal
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np
import pytest

from features.audio import open_audio
from features.errors import (
    AudioError,
    AudioParameterError,
    AudioTooLargeError,
    AudioTooLongError,
    CorruptAudioError,
    EmptyAudioError,
    NonFiniteAudioError,
    UnsupportedAudioError,
)
from features.limits import AudioLimits
from service.decoding import messages
from service.decoding.decoders import DEFAULT_BUDGET, DecodedStream
from service.decoding.messages import Budget, Job, answer
from service.errors import UndecodableAudioError
from tests.features.encoders import CONTAINERS, by_soundfile, silent_flac
from tests.service.conftest import DECODERS, wait_until

NOISE_N = (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32)
TEN_MINUTES = silent_flac(600, 16_000)
NO_LIMITS = AudioLimits()


@contextlib.contextmanager
def a_file_of(data: bytes) -> Iterator[BinaryIO]:
    with TemporaryFile() as file:
        file.write(data)
        yield file


def decode(data: bytes, limits: AudioLimits = NO_LIMITS, budget: Budget = DEFAULT_BUDGET) -> np.ndarray:
    with a_file_of(data) as file, DECODERS.open(file, limits, budget) as stream:
        return np.concatenate(list(stream))


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_what_decoding_here_gives(container: str) -> None:
    data = CONTAINERS[container](NOISE_N)
    with open_audio(data) as here:
        expected_N = np.concatenate(list(here))
    with a_file_of(data) as file, DECODERS.open(file, NO_LIMITS) as stream:
        assert stream.duration_s is None
        assert stream.share_read == 0
        got_N = np.concatenate(list(stream))
        assert stream.duration_s == here.duration_s
        assert stream.share_read == 1
        assert file.tell() == len(data), "the position of the caller's file has moved"
    np.testing.assert_array_equal(got_N, expected_N)


def test_long_audio_comes_in_pieces() -> None:
    data = by_soundfile(np.tile(NOISE_N, 50), "WAV", "PCM_16")
    with a_file_of(data) as file, DECODERS.open(file, NO_LIMITS) as stream:
        shares, n_samples = list[float](), 0
        for block_N in stream:
            assert len(block_N) <= 65_536
            n_samples += len(block_N)
            shares.append(stream.share_read)
    assert n_samples == 50 * len(NOISE_N)
    assert shares == sorted(shares)
    assert shares[0] < 0.1


NOT_A_NUMBER = NOISE_N.copy()
NOT_A_NUMBER[1000] = np.nan
REFUSED: dict[str, tuple[bytes, AudioLimits, type[AudioError]]] = {
    "empty": (b"", NO_LIMITS, EmptyAudioError),
    "text": (b"not audio", NO_LIMITS, UnsupportedAudioError),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", NO_LIMITS, UnsupportedAudioError),
    "truncated": (CONTAINERS["flac"](NOISE_N)[:-100], NO_LIMITS, CorruptAudioError),
    "not a number": (by_soundfile(NOT_A_NUMBER, "WAV", "FLOAT"), NO_LIMITS, NonFiniteAudioError),
    "sample rate": (by_soundfile(NOISE_N, "FLAC", "PCM_16", 655_350), NO_LIMITS, AudioParameterError),
    "channels": (CONTAINERS["wav"](NOISE_N.reshape(-1, 2)), AudioLimits(max_channels=1), AudioParameterError),
    "seconds": (TEN_MINUTES, AudioLimits(max_duration_s=500), AudioTooLongError),
    "bytes": (TEN_MINUTES, AudioLimits(max_decoded_bytes=1_000_000), AudioTooLargeError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_there_is_the_error_that_it_is_here(name: str) -> None:
    data, limits, kind = REFUSED[name]
    with pytest.raises(AudioError) as here, open_audio(data, limits) as blocks:
        list(blocks)
    with pytest.raises(AudioError) as there:
        decode(data, limits)
    assert type(there.value) is type(here.value) is kind
    assert str(there.value) == str(here.value)


# --- processes that do not come to an end ----------------------------------------------------------------------------


def signalled(stream: DecodedStream, number: signal.Signals) -> None:
    assert stream._process is not None, "this machine cannot signal a process by its descriptor"
    signal.pidfd_send_signal(stream._process, number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_process_that_dies_takes_nothing_with_it(number: signal.Signals) -> None:
    with a_file_of(TEN_MINUTES) as file, DECODERS.open(file, NO_LIMITS) as stream:
        blocks = iter(stream)
        next(blocks)
        signalled(stream, number)
        with pytest.raises(UndecodableAudioError, match="CEPSTRA_DECODER_MEMORY_BYTES"):
            list(blocks)
    assert len(decode(CONTAINERS["flac"](NOISE_N))) == len(NOISE_N)


def test_a_process_that_hangs_is_ended() -> None:
    budget = Budget(DEFAULT_BUDGET.memory_bytes, DEFAULT_BUDGET.cpu_s, stall_s=0.5)
    with a_file_of(TEN_MINUTES) as file, DECODERS.open(file, NO_LIMITS, budget) as stream:
        blocks = iter(stream)
        next(blocks)
        signalled(stream, signal.SIGSTOP)
        with pytest.raises(UndecodableAudioError, match=r"0\.5 s for the next samples \(CEPSTRA_DECODER_STALL_S\)"):
            list(blocks)
        assert stream._process is not None
        descriptor = os.dup(stream._process)
    wait_until(lambda: ended(descriptor))
    os.close(descriptor)


def test_whoever_does_not_want_to_wait_any_longer_ends_it() -> None:
    class GoneError(Exception):
        pass

    gone = False

    def while_waiting() -> None:
        if gone:
            raise GoneError

    with a_file_of(TEN_MINUTES) as file, DECODERS.open(file, NO_LIMITS, while_waiting=while_waiting) as stream:
        blocks = iter(stream)
        next(blocks)
        assert stream._process is not None
        descriptor = os.dup(stream._process)
        signalled(stream, signal.SIGSTOP)
        gone = True
        with pytest.raises(GoneError):
            list(blocks)
    wait_until(lambda: ended(descriptor))
    os.close(descriptor)


def ended(process: int) -> bool:
    try:
        signal.pidfd_send_signal(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_more_memory_than_allowed_is_an_error_of_this_upload_only() -> None:
    eight_channels = by_soundfile(np.zeros((100_000, 8), np.float32), "WAV", "FLOAT")
    with pytest.raises(UndecodableAudioError, match="100000 bytes of memory"):
        decode(eight_channels, budget=Budget(100_000, DEFAULT_BUDGET.cpu_s, DEFAULT_BUDGET.stall_s))
    assert len(decode(eight_channels)) == 100_000


def test_more_processor_time_than_allowed_is_an_error_of_this_upload_only() -> None:
    hours = silent_flac(7200, 192_000, channels=8)
    with pytest.raises(UndecodableAudioError, match="1 s of processor time"):
        for _ in every_block(hours, Budget(DEFAULT_BUDGET.memory_bytes, 1, DEFAULT_BUDGET.stall_s)):
            pass
    assert len(decode(CONTAINERS["wav"](NOISE_N))) == len(NOISE_N)


def every_block(data: bytes, budget: Budget) -> Iterator[np.ndarray]:
    with a_file_of(data) as file, DECODERS.open(file, NO_LIMITS, budget) as stream:
        yield from stream


def test_the_parent_is_started_anew_where_it_has_died() -> None:
    decode(CONTAINERS["wav"](NOISE_N))
    assert DECODERS._parent is not None
    died = DECODERS._parent.pid
    os.kill(died, signal.SIGKILL)

    def another_parent() -> bool:
        assert len(decode(CONTAINERS["wav"](NOISE_N))) == len(NOISE_N)
        return DECODERS._parent is not None and DECODERS._parent.pid != died

    wait_until(another_parent)


def test_many_at_once_from_one_parent() -> None:
    """Handles of processes cross at the same time; none is refused because another one is on its way."""
    decode(CONTAINERS["wav"](NOISE_N))
    parent = DECODERS._parent
    data = CONTAINERS["wav"](NOISE_N)
    with ThreadPoolExecutor(8) as pool:
        lengths = list(pool.map(lambda _: len(decode(data)), range(48)))
    assert lengths == [len(NOISE_N)] * 48
    assert DECODERS._parent is parent


def test_the_position_and_the_buffer_of_a_file_do_not_matter() -> None:
    with TemporaryFile() as file:
        file.write(CONTAINERS["wav"](NOISE_N))  # not flushed
        file.seek(10)
        with DECODERS.open(file, NO_LIMITS) as stream:
            assert sum(map(len, stream)) == len(NOISE_N)
        assert file.tell() == 10


# --- processes that lie ----------------------------------------------------------------------------------------------

SAMPLES = np.zeros(1000, np.float32).tobytes()
TAKEN = answer(messages.TAKEN)
BEGUN = TAKEN + answer(messages.BEGUN, json.dumps({"pid": 0, "confined": []}).encode())
LIES: dict[str, bytes] = {
    "nothing": b"",
    "half a header": BEGUN + b"s\0\0",
    "samples that never come": BEGUN + messages.HEADER.pack(messages.SAMPLES, 0, 0, 4000) + b"\0" * 3996,
    "half a sample": BEGUN + answer(messages.SAMPLES, SAMPLES[:-1]),
    "samples that are no numbers": BEGUN + answer(messages.SAMPLES, struct.pack("<f", np.nan)),
    "more samples than it may have": BEGUN + answer(messages.SAMPLES, SAMPLES) * 30,
    "four gigabytes": BEGUN + messages.HEADER.pack(messages.SAMPLES, 0, 0, 0xFFFF_FFFC),
    "an error of four gigabytes": BEGUN + messages.HEADER.pack(messages.REFUSED, 0, 0, 0xFFFF_FFFF),
    "an error of another family": BEGUN + answer(messages.REFUSED, b'["KeyboardInterrupt", ""]'),
    "an error that is none": BEGUN + answer(messages.REFUSED, b'{"a": 1}'),
    "no JSON": BEGUN + answer(messages.REFUSED, b"\xff["),
    "another kind": BEGUN + answer(b"?", b""),
    "no beginning": TAKEN + answer(messages.END),
    "not taken": answer(messages.BEGUN, b"{}"),
    "a beginning without JSON": TAKEN + answer(messages.BEGUN, b"{"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_process_that_lies_is_not_believed(name: str) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(LIES[name])
    theirs.close()
    with (
        contextlib.closing(
            DecodedStream(ours, AudioLimits(max_duration_s=0.5), DEFAULT_BUDGET, lambda: None)
        ) as stream,
        pytest.raises(UndecodableAudioError),
    ):
        said(stream)


def said(stream: DecodedStream) -> list[np.ndarray]:
    stream.begin()
    return list(stream)


def test_what_a_process_says_of_itself_is_bounded() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(BEGUN + answer(messages.SAMPLES, SAMPLES, np.nan, -5.0) + answer(messages.END))
    with contextlib.closing(DecodedStream(ours, NO_LIMITS, DEFAULT_BUDGET, lambda: None)) as stream, theirs:
        stream.begin()
        next(iter(stream))
        assert (stream.share_read, stream.duration_s) == (0, None)


def test_jobs_and_limits_cross_whole() -> None:
    job = Job(AudioLimits(1.5, 2**40, 3, 44_100), 123, 4)
    assert Job.from_bytes(job.to_bytes()) == job
    assert len(job.to_bytes()) < messages.MAX_JOB_BYTES


def test_a_file_in_memory_has_no_descriptor() -> None:
    with pytest.raises(io.UnsupportedOperation), DECODERS.open(io.BytesIO(TEN_MINUTES), NO_LIMITS):
        pass
