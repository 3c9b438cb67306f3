import base64
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.audio import decode_audio
from training import clips
from training.clips import MAX_CLIP_BYTES, MAX_CLIP_S, embed_clip

RATE_HZ = 16_000


def bytes_of(url: str) -> tuple[str, bytes]:
    head, _, encoded = url.partition(";base64,")
    return head, base64.b64decode(encoded, validate=True)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "container", "subtype", "media_type"),
    [
        ("clip.mp3", "MP3", None, "audio/mpeg"),
        ("clip.opus", "OGG", "OPUS", "audio/ogg"),
        ("clip.ogg", "OGG", "VORBIS", "audio/ogg"),
    ],
)
def test_compact_files_keep_their_bytes(
    tmp_path: Path, name: str, container: str, subtype: str | None, media_type: str
) -> None:
    path = tmp_path / name
    soundfile.write(path, noise(1.0), RATE_HZ, format=container, subtype=subtype)
    assert bytes_of(embed_clip(path).url) == (f"data:{media_type}", path.read_bytes())


@pytest.mark.parametrize("name", ["clip.wav", "clip.flac"])
def test_all_else_becomes_mp3_of_the_same_length(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, noise(3.0), RATE_HZ)
    clip = embed_clip(tmp_path / name)
    media_type, data = bytes_of(clip.url)
    assert media_type == "data:audio/mpeg"
    assert len(data) < 3.0 * 32_000 / 8 * 1.1
    assert decode_audio(data).duration_s == pytest.approx(3.0, abs=0.1)
    assert clip.note == ""


def test_long_audio_is_cut_and_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", noise(MAX_CLIP_S + 30), RATE_HZ)
    clip = embed_clip(tmp_path / "long.wav")
    _, data = bytes_of(clip.url)
    assert 0.9 * MAX_CLIP_BYTES < len(data) <= MAX_CLIP_BYTES
    assert clip.note == "The first 60 s of 90 s."


def test_a_compact_file_above_the_limit_is_encoded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp3"
    soundfile.write(path, noise(2.0), 44_100, format="MP3", compression_level=0.0)
    monkeypatch.setattr(clips, "MAX_CLIP_BYTES", path.stat().st_size - 1)
    _, data = bytes_of(embed_clip(path).url)
    assert len(data) < path.stat().st_size


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"no audio", "not audio"), (b"", "empty")])
def test_what_cannot_be_read_is_said(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "clip.wav"
    if content is not None:
        path.write_bytes(content)
    clip = embed_clip(path)
    assert clip.url == ""
    assert reason in clip.note
    assert str(tmp_path) not in clip.note
