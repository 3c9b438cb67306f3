"""A corpus through a codec: what is lost, what is kept, and what is drawn."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import cli
from features.audio import SAMPLE_RATE_HZ, decode_audio
from training.corpora import Utterance, read_corpus, write_manifest
from training.errors import CorpusError, RecipeError
from training.recode import recode_corpus

N_UTTERANCES = 12


@pytest.fixture
def noises(tmp_path: Path) -> list[Utterance]:
    """Half a second of white noise each: mp3 at 24 kbit/s has nothing above some 5 kHz."""
    rng, utterances = np.random.default_rng(4), []
    for number in range(N_UTTERANCES):
        path = tmp_path / f"noise{number}.wav"
        soundfile.write(path, rng.normal(0, 0.1, SAMPLE_RATE_HZ // 2), SAMPLE_RATE_HZ)
        utterances.append(Utterance(f"n{number}", path, "a word", f"s{number}", 0.5))
    return utterances


def highs(path: Path) -> float:
    """Share of the power above 6.5 kHz."""
    power = np.abs(np.fft.rfft(decode_audio(path).samples_N)) ** 2
    return float(power[round(6500 / 8000 * len(power)) :].sum() / power.sum())


def test_what_is_encoded_loses_its_highs_and_nothing_else(noises: list[Utterance], tmp_path: Path) -> None:
    told = []
    recoded = recode_corpus(
        noises, tmp_path / "out", codec="mp3", kbps=[24], progress=lambda *count: told.append(count)
    )
    assert told == [(done, N_UTTERANCES) for done in range(1, N_UTTERANCES + 1)]
    for before, after in zip(noises, recoded, strict=True):
        assert (after.id, after.transcript, after.speaker) == (before.id, before.transcript, before.speaker)
        assert after.path.parent == tmp_path / "out" and after.path.name.startswith(f"{before.id}-")
        assert len(decode_audio(after.path).samples_N) == SAMPLE_RATE_HZ // 2
        assert highs(before.path) > 0.15 > 0.01 > highs(after.path)


def test_a_share_is_drawn_by_id_and_what_is_there_stays(noises: list[Utterance], tmp_path: Path) -> None:
    def run(some: list[Utterance], seed: int) -> list[bool]:
        folder = tmp_path / f"out{seed}"
        recoded = recode_corpus(some, folder, codec="mp3", kbps=[16, 24], share=0.5, seed=seed)
        assert all(after.path == before.path or after.path.parent == folder for before, after in zip(some, recoded))  # noqa: B905  # as many by the other test
        return [after.path.parent == folder for after in recoded]

    drawn = run(noises, 1)
    assert 2 <= sum(drawn) <= 10
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out1").iterdir()}
    assert len(times) == sum(drawn)
    assert run(noises[::-1], 1) == drawn[::-1]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out1").iterdir()} == times
    assert run(noises, 2) != drawn
    assert recode_corpus(noises, tmp_path / "none", codec="mp3", kbps=[24], share=0.0) == noises


def test_what_was_made_of_other_audio_or_at_another_rate_is_made_anew(noises: list[Utterance], tmp_path: Path) -> None:
    def heard(kbps: int) -> np.ndarray:
        (recoded,) = recode_corpus(noises[:1], tmp_path / "out", codec="mp3", kbps=[kbps])
        return decode_audio(recoded.path).samples_N

    first = heard(24)
    assert np.array_equal(heard(24), first)
    assert not np.array_equal(heard(16), first)
    soundfile.write(noises[0].path, np.zeros(SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
    assert len(heard(24)) == SAMPLE_RATE_HZ


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "speex"}, "the codec is 'speex'; it must be one of mp3, opus"),
        ({"share": 1.5}, r"the share to encode is 1.5; it must lie in 0..1"),
        ({"kbps": [24, 200]}, r"the bit rates are \[24, 200\]; they must lie in 6..64 kbit/s"),
        ({"kbps": []}, "the bit rates are"),
    ],
)
def test_options_outside_their_range_are_refused(
    noises: list[Utterance], tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recode_corpus(noises, tmp_path / "out", **({"codec": "mp3", "kbps": [24]} | options))  # type: ignore[arg-type]  # wild on purpose


def test_no_file_is_written_outside_the_folder_or_twice(noises: list[Utterance], tmp_path: Path) -> None:
    (outside,) = recode_corpus([Utterance("../n", noises[0].path, "x")], tmp_path / "out", codec="mp3", kbps=[24])
    assert outside.path.parent == tmp_path / "out" and outside.id == "../n"
    with pytest.raises(CorpusError, match="1 of 2 utterances have audio that cannot be encoded"):
        recode_corpus([noises[1], noises[1]], tmp_path / "out", codec="mp3", kbps=[24])
    assert not (tmp_path / "n.flac").exists()


def test_the_command_writes_a_manifest(noises: list[Utterance], tmp_path: Path) -> None:
    write_manifest(noises, tmp_path / "in.tsv")
    options = ["--share", "0.5", "--kbps", "16", "--kbps", "24"]
    done = CliRunner().invoke(cli.app, ["data", "encode", str(tmp_path / "in.tsv"), str(tmp_path / "o.tsv"), *options])
    assert done.exit_code == 0, done.output
    encoded = len(list((tmp_path / "o.audio").iterdir()))
    assert f"{N_UTTERANCES} utterances, {encoded} of them as mp3" in done.output
    assert len(read_corpus(tmp_path / "o.tsv")) == N_UTTERANCES
