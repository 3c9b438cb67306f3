import json
from statistics import mean

import pytest

from model.transcript import Alternative, Segment, Transcript, Word
from service.formats import (
    PART_OF_A_LIST,
    RESPONSE_FORMATS,
    compression_ratio,
    render,
    to_json,
    to_line,
    to_verbose_json,
)
from tests.service.fakes import SENTENCES, TEXT, transcript_of

SPOKEN = transcript_of(SENTENCES, duration_s=12.3456)
SILENT = Transcript("", (), 3.0)


def test_text_is_the_text_and_a_line_end() -> None:
    assert render(SPOKEN, "text") == TEXT + "\n"


@pytest.mark.parametrize(
    ("response_format", "body"),
    [
        ("text", ""),
        ("srt", ""),
        ("vtt", "WEBVTT\n"),
        ("json", '{"text":"","usage":{"type":"duration","seconds":3.0}}'),
    ],
)
def test_silence_is_empty_but_valid(response_format: str, body: str) -> None:
    assert render(SILENT, response_format) == body  # type: ignore[arg-type]  # mypy cannot see the literal


def test_json() -> None:
    assert to_json(SPOKEN) == {"text": TEXT, "usage": {"type": "duration", "seconds": 12.346}}


def test_logprobs_spell_the_text() -> None:
    logprobs = to_json(SPOKEN, logprobs=True)["logprobs"]
    assert "".join(entry["token"] for entry in logprobs) == TEXT
    assert bytes(byte for entry in logprobs for byte in entry["bytes"]).decode() == TEXT
    assert sorted(entry["logprob"] for entry in logprobs) == [-0.125] * len("".join(SENTENCES)) + [0.0, 0.0]


def test_a_long_list_is_written_as_a_short_one_is() -> None:
    many = [{"word": "é", "n": n} for n in range(2 * PART_OF_A_LIST + 1)]
    answer = {"text": "é", "words": many, "segments": [], "usage": {"seconds": 1.0}}
    assert to_line(answer) == json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def test_verbose_json_segments() -> None:
    answer = to_verbose_json(SPOKEN, ("segment",))
    assert "words" not in answer
    assert to_verbose_json(SPOKEN) == answer | to_verbose_json(SPOKEN, ("word",))
    assert {key: answer[key] for key in ("task", "language", "duration", "text")} == {
        "task": "transcribe",
        "language": "en",
        "duration": 12.346,
        "text": TEXT,
    }
    first = answer["segments"][0]
    tokens = first.pop("tokens")
    assert len(tokens) == len(SENTENCES[0])
    assert first == {
        "id": 0,
        "seek": 20,
        "start": 0.2,
        "end": 2.55,
        "text": SENTENCES[0],
        "temperature": 0.0,
        "avg_logprob": -0.125,
        "compression_ratio": pytest.approx(39 / 47, abs=0.05),
        "no_speech_prob": 0.25,
        "confidence": pytest.approx(mean(word.confidence for word in SPOKEN.segments[0].words), abs=1e-4),
    }
    assert [segment["text"] for segment in answer["segments"]] == list(SENTENCES)


def test_verbose_json_words() -> None:
    answer = to_verbose_json(SPOKEN, ("word",))
    assert "segments" not in answer
    assert answer["words"][1] == {"word": "hoped", "start": 0.5, "end": 0.75, "confidence": 0.75}
    assert " ".join(word["word"] for word in answer["words"]) == TEXT


def test_compression_ratio_rises_with_repetition() -> None:
    assert compression_ratio("") == 0
    assert compression_ratio("the " * 100) > 2.4 > compression_ratio(TEXT) > 0


def test_text_is_not_escaped_to_ascii() -> None:
    assert "café" in render(transcript_of(["café"]), "json")


@pytest.mark.parametrize("response_format", RESPONSE_FORMATS)
def test_json_bodies_are_one_line(response_format: str) -> None:
    body = render(SPOKEN, response_format)  # type: ignore[arg-type]  # mypy cannot see the literal
    if "json" in response_format:
        assert "\n" not in body
        assert json.loads(body)["text"] == TEXT


def test_a_word_has_its_alternatives_where_they_were_asked_for() -> None:
    others = (Alternative("hop", 0.25), Alternative("", 0.1))
    words = (Word("hoped", 0.5, 0.75, 0.75, others), Word("there", 0.75, 1.0, 0.5))
    segment = Segment(0, 0.5, 1.0, "hoped there", words, (), -0.1, 0.0)
    answer = to_verbose_json(Transcript("hoped there", (segment,), 1.0))
    assert answer["words"][0]["alternatives"] == [{"word": "hop", "share": 0.25}, {"word": "", "share": 0.1}]
    assert "alternatives" not in answer["words"][1]
    assert answer["segments"][0]["confidence"] == 0.625
