import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from model.tokenizer import CharacterTokenizer
from training.corpora import Utterance, file_stem, measure, normalize_transcript, read_corpus, reject, write_manifest
from training.errors import CorpusError


def write_audio(path: Path, seconds: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(16_000 * seconds), np.float32), 16_000)


@pytest.fixture
def librispeech_tree(tmp_path: Path) -> Path:
    for subset, speaker in (("dev-clean", "84"), ("train-clean-5", "32")):
        folder = tmp_path / "LibriSpeech" / subset / speaker / "121123"
        lines = []
        for number, text in enumerate(("GO DO YOU HEAR", "BUT IN LESS THAN FIVE MINUTES")):
            utterance = f"{speaker}-121123-{number:04}"
            write_audio(folder / f"{utterance}.flac", 1.0 + number)
            lines.append(f"{utterance} {text}")
        (folder / f"{speaker}-121123.trans.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "LibriSpeech"


def test_a_librispeech_tree_gives_its_utterances_with_speaker_and_text(librispeech_tree: Path) -> None:
    utterances = read_corpus(librispeech_tree)
    assert [(u.id, u.speaker, u.transcript) for u in utterances] == [
        ("84-121123-0000", "84", "GO DO YOU HEAR"),
        ("84-121123-0001", "84", "BUT IN LESS THAN FIVE MINUTES"),
        ("32-121123-0000", "32", "GO DO YOU HEAR"),
        ("32-121123-0001", "32", "BUT IN LESS THAN FIVE MINUTES"),
    ]
    assert all(u.path.is_file() for u in utterances)


def test_a_subset_of_a_tree_can_be_asked_for(librispeech_tree: Path) -> None:
    assert {u.speaker for u in read_corpus(librispeech_tree, where={"subset": "dev-clean"})} == {"84"}
    with pytest.raises(CorpusError, match="no utterances with"):
        read_corpus(librispeech_tree, where={"subset": "test-other"})


def test_measuring_gives_exact_durations(librispeech_tree: Path) -> None:
    assert [u.duration_s for u in measure(read_corpus(librispeech_tree))] == [1.0, 2.0, 1.0, 2.0]


def test_a_tsv_manifest_needs_only_path_and_transcript(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text('path\ttranscript\na/one.wav\tSHE SAID "YES"\n')
    (only,) = read_corpus(tmp_path / "m.tsv")
    assert only == Utterance("a/one.wav", tmp_path / "a/one.wav", 'SHE SAID "YES"')


def test_json_lines_as_nemo_writes_them(tmp_path: Path) -> None:
    rows = [
        {"audio_filepath": "one.wav", "text": "hello there", "duration": 1.25},
        {"audio_filepath": "two.wav", "text": "again"},
    ]
    (tmp_path / "m.json").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    one, two = read_corpus(tmp_path / "m.json")
    assert (one.path, one.transcript, one.duration_s) == (tmp_path / "one.wav", "hello there", 1.25)
    assert two.duration_s == 0.0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.tsv", "file\ttext\nx.wav\tHI\n", r"lacks \['path', 'transcript'\]"),
        ("m.tsv", "path\ttranscript\nx.wav\n", "line 2: too few columns"),
        ("m.tsv", "path\ttranscript\tduration_s\nx.wav\tHI\tlong\n", "duration is 'long'"),
        ("m.tsv", "path\ttranscript\n", "has no utterances"),
        ("m.tsv", "path\ttranscript\nx.wav\t\ny.wav\t \n", "none of the 2 utterances .* has a transcript"),
        ("m.json", '{"audio_filepath": "x.wav"}\n', "line 1: needs audio_filepath and text"),
        ("m.json", "not json\n", "line 1: needs audio_filepath and text"),
        ("m.tsv", "path\ttranscript\nx.wav\tHI\tTHERE\n", "line 2: too many columns, with 'THERE'"),
        ("m.tsv", "path\ttranscript\tduration_s\nx.wav\tHI\tnan\n", "duration is 'nan'; it must be seconds"),
        ("m.json", '{"audio_filepath": "x.wav", "text": "hi", "duration": Infinity}\n', "line 1: duration is inf"),
        ("m.json", '{"audio_filepath": "x.wav", "text": ["hi"]}\n', r"line 1: .* text \['hi'\]; both must be strings"),
        ("m.json", '{"audio_filepath": null, "text": "hi"}\n', "line 1: audio_filepath is None"),
        ("m.json", '{"audio_filepath": "x.wav", "text": null}\n', "none of the 1 utterances .* has a transcript"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_corpus(tmp_path / name)


def test_hours_of_speech_may_be_one_utterance_and_columns_at_the_end_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text(f"path\ttranscript\nx.wav\t{'word ' * 40_000}\t\t\n")
    (only,) = read_corpus(tmp_path / "m.tsv")
    assert len(only.transcript.split()) == 40_000


@pytest.mark.parametrize("name", ["a\tb.wav", "a\nb.wav", "a\udcffb.wav"])
def test_what_a_manifest_cannot_hold_is_named_and_the_one_before_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.tsv").write_text("before\n")
    with pytest.raises(CorpusError, match=r"m\.tsv cannot hold .*b\.wav"):
        write_manifest([Utterance("one", tmp_path / name, "YES")], tmp_path / "m.tsv")
    assert [path.name for path in tmp_path.iterdir()] == ["m.tsv"]
    assert (tmp_path / "m.tsv").read_text() == "before\n"


def test_recordings_without_transcripts_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("path\tclass\nrain.wav\train\ndog.wav\tdog\n")
    (tmp_path / "m.json").write_text('{"audio_filepath": "rain.wav"}\n{"audio_filepath": "dog.wav"}\n')
    for name in ("m.tsv", "m.json"):
        noises = read_corpus(tmp_path / name, transcribed=False)
        assert [(u.path, u.transcript) for u in noises] == [(tmp_path / "rain.wav", ""), (tmp_path / "dog.wav", "")]
        with pytest.raises(CorpusError):
            read_corpus(tmp_path / name)
    (only,) = read_corpus(tmp_path / "m.tsv", where={"class": "dog"}, transcribed=False)
    assert only.id == "dog.wav"
    (tmp_path / "none.tsv").write_text("file\nrain.wav\n")
    with pytest.raises(CorpusError, match=r"lacks \['path'\]"):
        read_corpus(tmp_path / "none.tsv", transcribed=False)


def test_a_corpus_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="neither a directory nor a manifest"):
        read_corpus(tmp_path / "nothing")


def test_unreadable_audio_is_named_and_left_out_up_to_one_per_cent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_audio(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_bytes(b"this is no audio at all")
    good, bad = Utterance("good", tmp_path / "good.wav", "YES"), Utterance("bad", tmp_path / "bad.wav", "NO")
    with caplog.at_level(logging.WARNING):
        assert len(measure([good] * 99 + [bad])) == 99
    assert "bad.wav" in caplog.text
    with pytest.raises(CorpusError, match=r"2 of 100 utterances .* at most 1%.*bad\.wav"):
        measure([good] * 98 + [bad] * 2)


def test_missing_audio_counts_as_unreadable(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="1 of 1"):
        measure([Utterance("gone", tmp_path / "gone.wav", "YES")])


def test_nothing_rejected_is_never_refused() -> None:
    reject("anything", [], 0)


words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)


@given(st.lists(st.tuples(words, st.lists(words, min_size=1).map(" ".join), words), min_size=1, max_size=5))
def test_a_written_manifest_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    utterances = [
        Utterance(f"id{number}{name}", folder / f"{number}.wav", transcript, speaker, number + 0.125)
        for number, (name, transcript, speaker) in enumerate(rows)
    ]
    write_manifest(utterances, folder / "sub" / "m.tsv")
    back = read_corpus(folder / "sub" / "m.tsv")
    assert [(u.id, u.path.resolve(), u.transcript, u.speaker, u.duration_s) for u in back] == [
        (u.id, u.path.resolve(), u.transcript, u.speaker, u.duration_s) for u in utterances
    ]


@pytest.mark.parametrize(
    ("raw", "normalized"),
    [
        ("Author of the danger trail, Philip Steels, etc.", "author of the danger trail philip steels etc"),
        ("IT'S THE DOG'S", "it's the dog's"),
        ("“Don’t,” she said — ‘never’!", "don't she said never"),
        ("Mr. Smith-Jones", "mr smith jones"),
        ("café  naïve\tÆ", "cafe naive æ"),
        ("'tis  '' '", "tis"),
        ("3 dogs & 1 cat", "3 dogs & 1 cat"),
        ("", ""),
    ],
)
def test_normalized_transcripts(raw: str, normalized: str) -> None:
    assert normalize_transcript(raw) == normalized


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize_transcript(text)
    assert normalize_transcript(once) == once


def test_transcripts_of_real_corpora_have_units_for_every_character(speech_data: Path) -> None:
    tokenizer = CharacterTokenizer()
    for corpus in ("librispeech", "kathleen", "speechocean762"):
        for utterance in read_corpus(speech_data / corpus / "manifest.tsv"):
            tokenizer.encode(normalize_transcript(utterance.transcript))


def test_a_tree_can_be_asked_for_a_speaker_and_for_nothing_that_it_does_not_know(librispeech_tree: Path) -> None:
    speakers = {utterance.speaker for utterance in read_corpus(librispeech_tree)}
    assert len(speakers) > 1
    for speaker in speakers:
        assert {one.speaker for one in read_corpus(librispeech_tree, where={"speaker": speaker})} == {speaker}
    with pytest.raises(CorpusError, match="has subset and speaker, and no accent"):
        read_corpus(librispeech_tree, where={"accent": "scottish"})


def test_a_byte_order_mark_is_no_part_of_the_header_and_other_encodings_are_named(tmp_path: Path) -> None:
    manifest = tmp_path / "corpus.tsv"
    manifest.write_bytes("\ufeffpath\ttranscript\na.wav\tgood morning\n".encode())
    assert [one.path.name for one in read_corpus(manifest)] == ["a.wav"]
    manifest.write_bytes("path\ttranscript\na.wav\tcafé\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"corpus\.tsv is not UTF-8: it has a byte 0xe9"):
        read_corpus(manifest)


def test_white_space_within_a_transcript_is_written_as_spaces(tmp_path: Path) -> None:
    lines = tmp_path / "corpus.jsonl"
    lines.write_text(json.dumps({"audio_filepath": "a.wav", "text": "good\tmorning\nall\u2028of you"}) + "\n")
    write_manifest(read_corpus(lines), tmp_path / "corpus.tsv")
    assert [one.transcript for one in read_corpus(tmp_path / "corpus.tsv")] == ["good morning all of you"]


def test_a_part_of_a_recording_is_refused(tmp_path: Path) -> None:
    lines = tmp_path / "corpus.jsonl"
    lines.write_text(json.dumps({"audio_filepath": "a.wav", "text": "good", "offset": 7.5, "duration": 2}) + "\n")
    with pytest.raises(CorpusError, match=r"line 1: offset is 7\.5; cut the recording first"):
        read_corpus(lines)


@given(st.text(), st.text())
def test_every_id_has_a_file_name_of_its_own(one: str, other: str) -> None:
    stems = [file_stem(one), file_stem(other)]
    for stem in stems:
        assert stem and Path(stem).name == stem and len(stem.encode()) < 200
    assert (stems[0] == stems[1]) == (one == other)
