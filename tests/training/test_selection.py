"""Durations where a corpus does not tell them; what is left out of a run is tested in test_trainer.py."""

from dataclasses import replace
from pathlib import Path

import pytest

from features.audio import decode_audio
from model.tokenizer import CharacterTokenizer
from tests.conftest import SpokenClip
from training import selection
from training.corpora import Utterance
from training.errors import CorpusError
from training.recipe import Recipe
from training.selection import select_utterances, with_durations


def utterances_of(clips: list[SpokenClip]) -> list[Utterance]:
    return [Utterance(clip.id, clip.path, clip.transcript) for clip in clips]


@pytest.fixture
def nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("it decodes")

    monkeypatch.setattr(selection, "measure", refuse)


@pytest.mark.usefixtures("nothing_is_decoded")
def test_flac_says_in_its_header_how_long_it_is(synthetic_clips: list[SpokenClip]) -> None:
    found = with_durations(utterances_of(synthetic_clips))
    assert [u.duration_s for u in found] == [decode_audio(clip.path).duration_s for clip in synthetic_clips]


@pytest.mark.usefixtures("nothing_is_decoded")
def test_durations_that_are_known_are_believed(synthetic_clips: list[SpokenClip]) -> None:
    known = [replace(utterance, duration_s=1.25) for utterance in utterances_of(synthetic_clips)]
    assert with_durations(known) == known


def test_other_audio_is_decoded(tones_manifest: Path, synthetic_clips: list[SpokenClip]) -> None:
    wav = Utterance("0", tones_manifest.parent / "0.wav", "ABC")
    found = with_durations([*utterances_of(synthetic_clips), wav])
    assert [u.duration_s for u in found] == [decode_audio(u.path).duration_s for u in found]
    assert len(found) == len(synthetic_clips) + 1


def test_flac_that_was_written_to_a_pipe_is_decoded(synthetic_clips: list[SpokenClip], tmp_path: Path) -> None:
    content = bytearray(synthetic_clips[0].path.read_bytes())
    content[21] &= 0xF0  # the number of samples: 36 bits of the first metadata block, 0 where it was not known
    content[22:26] = bytes(4)
    (tmp_path / "pipe.flac").write_bytes(content)
    (found,) = with_durations([Utterance("pipe", tmp_path / "pipe.flac", "HI")])
    assert found.duration_s == decode_audio(synthetic_clips[0].path).duration_s


def test_flac_that_cannot_be_read_is_named_and_left_out_up_to_one_per_cent(
    synthetic_clips: list[SpokenClip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (good, *_) = utterances_of(synthetic_clips)
    (tmp_path / "bad.flac").write_bytes(b"this is no audio at all")
    bad, gone = Utterance("bad", tmp_path / "bad.flac", "NO"), Utterance("gone", tmp_path / "gone.flac", "NO")
    assert len(with_durations([good] * 99 + [bad])) == 99
    assert "bad.flac" in caplog.text
    with pytest.raises(CorpusError, match=r"2 of 100 utterances .* at most 1%.*bad\.flac"):
        with_durations([good] * 98 + [bad, gone])


def test_a_dev_corpus_that_is_not_there_is_said_before_the_first_pass(tiny_recipe: Recipe, tmp_path: Path) -> None:
    missing = replace(tiny_recipe, data=replace(tiny_recipe.data, dev=str(tmp_path / "dev")))
    with pytest.raises(CorpusError, match=r"no corpus at .*dev: neither a directory nor a manifest"):
        select_utterances(missing, CharacterTokenizer())
    none = replace(tiny_recipe, data=replace(tiny_recipe.data, dev=""))
    assert len(select_utterances(none, CharacterTokenizer())[0]) == 12
