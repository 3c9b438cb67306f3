"""Sounds in which nobody speaks, through the service with the shipped bundle: no words, whatever the format."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import soundfile
from starlette.testclient import TestClient

from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from service.app import create_app
from service.settings import Settings
from tests.conftest import SpokenClip
from tests.service.conftest import DECODERS, wait_until
from tests.sounds import RATE_HZ, SOUNDS

EMPTY_TEXTS = {"text": "", "srt": "", "vtt": "WEBVTT\n"}
FORMATS = ("verbose_json", "json", *EMPTY_TEXTS)


@pytest.fixture(scope="module", params=["greedy", "language model"])
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    transcriber = Transcriber.from_bundle(SHIPPED_BUNDLE, greedy=request.param == "greedy", runtime="torch")
    with TestClient(create_app(Settings(), transcriber, DECODERS)) as connected:
        wait_until(lambda: connected.get("/readyz").status_code == 200)
        yield connected


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize(("duration_s", "formats"), [(0.7, FORMATS[:1]), (4.0, FORMATS)], ids=["0.7", "4.0"])
def test_no_words_in_any_format(client: TestClient, name: str, duration_s: float, formats: tuple[str, ...]) -> None:
    """All formats say what the first one says, so that of short sounds one is enough."""
    file = io.BytesIO()
    soundfile.write(file, SOUNDS[name](duration_s), RATE_HZ, format="WAV", subtype="PCM_16")
    answers = {response_format: answer(client, file.getvalue(), response_format) for response_format in formats}
    for response_format, found in answers.items():
        if response_format in EMPTY_TEXTS:
            assert found.text == EMPTY_TEXTS[response_format]
        else:
            assert found.json()["text"] == ""
    verbose = answers["verbose_json"].json()
    assert not verbose.get("segments")
    assert not verbose.get("words")
    assert verbose["duration"] == pytest.approx(duration_s)


def test_speech_is_not_dropped_with_them(client: TestClient, synthetic_clips: list[SpokenClip]) -> None:
    """Or the test above could pass by hearing nothing at all."""
    for clip in synthetic_clips:
        verbose = answer(client, clip.path.read_bytes(), "verbose_json").json()
        assert len(verbose["text"].split()) >= 0.5 * len(clip.transcript.split())
        assert all(segment["no_speech_prob"] < 0.5 for segment in verbose["segments"])


def answer(client: TestClient, audio: bytes, response_format: str) -> Any:
    response = client.post(
        "/v1/audio/transcriptions",
        files={"file": ("sound", audio)},
        data={"model": "default", "response_format": response_format},
    )
    assert response.status_code == 200
    return response
