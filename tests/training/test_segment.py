from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from features.audio import SAMPLE_RATE_HZ, decode_audio
from model.shipped import SHIPPED_BUNDLE
from model.transcriber import Transcriber
from training.corpora import Utterance, normalize_transcript, read_corpus
from training.errors import CorpusError, RecipeError
from training.segment import EDGE_S, Pause, choose_cuts, segment

CLIPS = Path(__file__).resolve().parent.parent / "clips" / "clips.tsv"


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    return Transcriber.from_bundle(SHIPPED_BUNDLE, greedy=True)


@pytest.fixture
def joined(tmp_path: Path) -> tuple[Utterance, list[tuple[float, float]]]:
    """Three clips with half a second of silence between them, and where those silences are."""
    clips = [clip for clip in read_corpus(CLIPS) if not any(c.isdigit() for c in clip.transcript)][:3]
    parts: list[np.ndarray] = []
    silences = []
    for clip in clips:
        if parts:
            begin_s = sum(map(len, parts)) / SAMPLE_RATE_HZ
            silences.append((begin_s, begin_s + 0.5))
            parts.append(np.zeros(SAMPLE_RATE_HZ // 2, dtype=np.float32))
        parts.append(decode_audio(clip.path).samples_N)
    samples_N = np.concatenate(parts)
    soundfile.write(tmp_path / "joined.wav", samples_N, SAMPLE_RATE_HZ)
    text = " ".join(clip.transcript for clip in clips)
    return Utterance("joined", tmp_path / "joined.wav", text, "s", len(samples_N) / SAMPLE_RATE_HZ), silences


def test_a_long_utterance_is_cut_where_its_speaker_pauses(
    transcriber: Transcriber, joined: tuple[Utterance, list[tuple[float, float]]], tmp_path: Path
) -> None:
    utterance, silences = joined
    longest_s = utterance.duration_s / 2
    pieces = segment(transcriber, [utterance], tmp_path / "audio", longest_s=longest_s)
    assert len(pieces) >= 2
    assert " ".join(piece.transcript for piece in pieces) == normalize_transcript(utterance.transcript)
    ends_s = np.cumsum([piece.duration_s for piece in pieces])
    assert ends_s[-1] == pytest.approx(utterance.duration_s, abs=1e-3)
    assert any(begin - 0.3 <= ends_s[0] <= end + 0.3 for begin, end in silences)
    for piece in pieces:
        assert piece.speaker == "s"
        assert decode_audio(piece.path).duration_s == pytest.approx(piece.duration_s, abs=1e-4)


def test_an_id_that_is_a_path_becomes_a_file_name_and_one_that_is_there_twice_is_refused(
    transcriber: Transcriber, joined: tuple[Utterance, list[tuple[float, float]]], tmp_path: Path
) -> None:
    utterance, _ = joined
    named = [replace(utterance, id=name) for name in ("clips/joined.wav", "/etc/joined.wav", "../joined.wav")]
    pieces = segment(transcriber, named, tmp_path / "audio", longest_s=utterance.duration_s / 2)
    assert {piece.path.parent for piece in pieces} == {tmp_path / "audio"}
    assert len({piece.path for piece in pieces}) == len({piece.id for piece in pieces}) == len(pieces)
    with pytest.raises(CorpusError, match="joined: another utterance has this id"):
        segment(transcriber, [utterance, utterance], tmp_path / "audio", longest_s=utterance.duration_s / 2)


def test_a_short_utterance_stays_as_it_is(
    transcriber: Transcriber, joined: tuple[Utterance, list[tuple[float, float]]], tmp_path: Path
) -> None:
    utterance, _ = joined
    assert segment(transcriber, [utterance], tmp_path / "audio", longest_s=1000.0) == [utterance]
    assert not list((tmp_path / "audio").iterdir())


def test_text_that_cannot_belong_to_the_audio_is_named(
    transcriber: Transcriber, joined: tuple[Utterance, list[tuple[float, float]]], tmp_path: Path
) -> None:
    wrong = Utterance("wrong", joined[0].path, "too many words " * 200, "s", joined[0].duration_s)
    with pytest.raises(CorpusError, match="wrong: the target needs"):
        segment(transcriber, [wrong], tmp_path / "audio", longest_s=4.0)
    with pytest.raises(RecipeError, match=r"1\.5 s; it must be at least 2 s"):
        segment(transcriber, [wrong], tmp_path / "audio", longest_s=1.5)
    with pytest.raises(RecipeError, match="nan s; it must be at least 2 s"):
        segment(transcriber, [wrong], tmp_path / "audio", longest_s=float("nan"))


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0.1, 2))), st.floats(2, 60), st.floats(2, 20))
def test_cuts_leave_no_piece_too_short_and_none_too_long_that_could_be_cut(
    places: list[tuple[float, float]], duration_s: float, longest_s: float
) -> None:
    pauses = [Pause(i + 1, t, gap) for i, (t, gap) in enumerate(sorted(p for p in places if p[0] < duration_s))]
    cuts = choose_cuts(pauses, duration_s, longest_s)
    edges = [0.0, *(cut.time_s for cut in cuts), duration_s]
    for begin_s, end_s in pairwise(edges):
        if cuts:
            assert end_s - begin_s >= EDGE_S - 1e-9
        if end_s - begin_s > longest_s + 1e-9:
            assert not any(begin_s + EDGE_S <= p.time_s <= end_s - EDGE_S for p in pauses if p not in cuts)
    assert [cut.word for cut in cuts] == sorted({cut.word for cut in cuts})
