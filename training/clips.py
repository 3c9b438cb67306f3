"""Audio inside a page: a file becomes a data URL that browsers play, of a bounded size."""

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path

import soundfile

from features.audio import decode_audio
from features.containers import inspect_container
from features.errors import AudioError

MAX_CLIP_BYTES = 256 * 1024  # of one clip, before base64 makes a third more of it
MAX_CLIP_S = 60.0  # of a clip that is encoded anew

# Compact already, and played by every browser; all else, and what is larger, is encoded anew.
MEDIA_TYPES = {"mp3": "audio/mpeg", "ogg": "audio/ogg", "vorbis": "audio/ogg"}

MP3_COMPRESSION = 0.84  # libsndfile's scale; at 16 kHz it is 32 kbit/s, so that `MAX_CLIP_S` fits `MAX_CLIP_BYTES`


@dataclass(frozen=True)
class Clip:
    """What a page plays.

    Attributes:
        url: `data:audio/…`, empty where there is nothing to play.
        note: what is to be said about it: that it is cut, or why there is none; empty otherwise.
    """

    url: str
    note: str = ""


def embed_clip(path: str | os.PathLike[str]) -> Clip:
    """An audio file as a data URL: its own bytes where they are compact, else mp3, mono, 16 kHz, 32 kbit/s.

    A file that cannot be read gives a clip without sound that says so.
    """
    try:
        data = Path(path).read_bytes()
        media_type = MEDIA_TYPES.get(inspect_container(io.BytesIO(data)).kind)
        if media_type and len(data) <= MAX_CLIP_BYTES:
            return Clip(_data_url(media_type, data))
        waveform = decode_audio(data)
    except (AudioError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Clip("", f"The audio cannot be played: {reason}")
    kept = waveform.samples_N[: round(MAX_CLIP_S * waveform.sample_rate_hz)]
    file = io.BytesIO()
    soundfile.write(
        file,
        kept.clip(-1, 1),
        waveform.sample_rate_hz,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=MP3_COMPRESSION,
    )
    note = f"The first {MAX_CLIP_S:g} s of {waveform.duration_s:.0f} s." if len(kept) < len(waveform.samples_N) else ""
    return Clip(_data_url("audio/mpeg", file.getvalue()), note)


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
