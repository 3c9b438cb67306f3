"""What somebody sends to break the server, over HTTP: refused with a clear error, and the next upload is served."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.features.encoders import CONTAINERS, by_soundfile, silent_flac
from tests.service.conftest import Server
from tests.service.fakes import TEXT
from tests.service.test_uploads import error_of, post

SOUND_N = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
MOST_MEMORY_MB = 200


def memory_mb() -> float:
    """What this process has in memory, and the server with it."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def refused(response: httpx.Response, *codes: str) -> str:
    error = error_of(response)
    assert response.status_code in (400, 413), response.text
    assert error["code"] in codes
    assert error["param"] == "file"
    return error["message"]


PLAYLISTS = {
    "a.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "a.wav": b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n",
    "b.wav": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "c.wav": b"[playlist]\nFile1=/etc/passwd\nNumberOfEntries=1\n",
    "d.wav": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "e.wav": b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>',
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_are_no_audio_whatever_they_are_called(server: Server, name: str) -> None:
    refused(post(server, PLAYLISTS[name], name), "unsupported_audio")


@pytest.mark.parametrize("header_tells", [True, False])
def test_ten_hours_of_silence_in_a_few_bytes(server: Server, header_tells: bool) -> None:
    silence = silent_flac(36_000, header_tells=header_tells)
    before_mb = memory_mb()
    message = refused(post(server, silence), "audio_too_long")
    assert "limit of 14400 s" in message
    assert memory_mb() - before_mb < MOST_MEMORY_MB


def test_a_sample_rate_that_only_a_header_can_have(server: Server) -> None:
    flac = by_soundfile(SOUND_N, "FLAC", "PCM_16", 655_350)
    assert "655350 Hz" in refused(post(server, flac), "unsupported_audio_parameters")


def test_channels_rate_and_decoded_bytes_just_under_and_just_over(start_server: Callable[..., Server]) -> None:
    server = start_server(max_channels=2, max_sample_rate_hz=16_000, max_decoded_bytes=64_000, remember_s=0)
    stereo_NC = SOUND_N.reshape(-1, 2)
    wide_NC = SOUND_N[:15_999].reshape(-1, 3)
    assert post(server, by_soundfile(stereo_NC, "WAV", "PCM_16")).status_code == 200
    message = refused(post(server, by_soundfile(wide_NC, "WAV", "PCM_16")), "unsupported_audio_parameters")
    assert "1 to 2" in message
    message = refused(post(server, by_soundfile(SOUND_N, "WAV", "PCM_16", 16_001)), "unsupported_audio_parameters")
    assert "8000 to 16000 Hz" in message
    one_more_N = np.append(SOUND_N, np.float32(0.1))
    message = refused(post(server, by_soundfile(one_more_N, "WAV", "PCM_16")), "audio_too_large")
    assert "64000 bytes" in message


def test_a_decoder_that_needs_too_much_is_ended_and_the_next_upload_served(start_server: Callable[..., Server]) -> None:
    server = start_server(decoder_cpu_s=1, max_decoded_bytes=2**50)
    hours = silent_flac(7200, 192_000, channels=8)
    assert "CEPSTRA_DECODER_CPU_S" in refused(post(server, hours), "undecodable_audio")
    assert post(server).json()["text"] == TEXT


@pytest.mark.parametrize("container", CONTAINERS)
def test_truncated_and_mutated_files_of_every_container(server: Server, container: str) -> None:
    """Cut where every container shows it, and changed anywhere: heard or refused, never a failure of the server."""
    whole = CONTAINERS[container](SOUND_N)
    random_ = random.Random(container)
    refused(post(server, whole[: len(whole) // 2 + 1]), "corrupt_audio", "unsupported_audio", "empty_audio")
    for _ in range(4):
        changed = bytearray(whole)
        for _ in range(random_.randrange(1, 12)):
            changed[random_.randrange(min(len(changed), random_.choice([64, 1024, 10**9])))] = random_.randrange(256)
        response = post(server, bytes(changed))
        assert response.status_code in (200, 400, 413), response.text
    assert post(server).json()["text"] == TEXT
