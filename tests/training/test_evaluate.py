from pathlib import Path

import pytest

from features.audio import decode_audio
from model.checkpoint import Bundle
from model.transcriber import Transcriber
from training.corpora import Utterance, normalize_transcript, read_corpus
from training.errors import CorpusError
from training.evaluate import evaluate


def test_errors_are_those_of_what_the_transcriber_says(tiny_bundle: Bundle, tones_manifest: Path) -> None:
    transcriber = Transcriber(tiny_bundle)
    evaluation = evaluate(transcriber, tones_manifest)
    utterances = read_corpus(tones_manifest)
    assert [r.hypothesis for r in evaluation.results] == [transcriber.transcribe(u.path).text for u in utterances]
    assert [r.reference for r in evaluation.results] == [normalize_transcript(u.transcript) for u in utterances]
    assert evaluation.audio_s == pytest.approx(sum(u.duration_s for u in utterances))
    assert [r.duration_s for r in evaluation.results] == pytest.approx([u.duration_s for u in utterances])
    heard = [transcriber.transcribe(u.path).words for u in utterances]
    assert [r.confidences for r in evaluation.results] == [tuple(w.confidence for w in words) for words in heard]
    assert [len(r.confidences) for r in evaluation.results] == [len(r.hypothesis.split()) for r in evaluation.results]
    numbers = evaluation.as_json()
    errors = numbers["substitutions"] + numbers["deletions"] + numbers["insertions"]
    assert numbers["wer"] == pytest.approx(errors / numbers["words"])
    assert numbers["words"] == sum(len(u.transcript.split()) for u in utterances)
    assert numbers["utterances"] == 12
    assert numbers["rtf"] > 0
    assert set(numbers) == {
        "wer", "cer", "substitutions", "deletions", "insertions", "words", "utterances", "audio_s", "rtf",
    }  # fmt: skip


def test_a_limit_takes_the_first_or_spreads(tiny_bundle: Bundle, tones_manifest: Path) -> None:
    first = evaluate(tiny_bundle, tones_manifest, limit=3)
    spread = evaluate(tiny_bundle, tones_manifest, limit=3, spread=True)
    assert [r.utterance.id for r in first.results] == ["0", "1", "2"]
    assert [r.utterance.id for r in spread.results] == ["0", "4", "8"]
    assert len(evaluate(tiny_bundle, tones_manifest, limit=99).results) == 12


def test_progress_counts_up(tiny_bundle: Bundle, tones_manifest: Path) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(tiny_bundle, tones_manifest, limit=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_unreadable_audio_past_one_per_cent_is_refused(
    tiny_bundle: Bundle, tones_manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"nothing to hear")
    utterances = [*read_corpus(tones_manifest), Utterance("bad", tmp_path / "bad.wav", "A")]
    with pytest.raises(CorpusError, match=r"1 of 13.*bad\.wav"):
        evaluate(tiny_bundle, utterances)


def test_an_empty_reference_counts_what_was_heard_as_insertions(tiny_bundle: Bundle, tones_manifest: Path) -> None:
    clip = read_corpus(tones_manifest)[1]
    heard = Transcriber(tiny_bundle).transcribe(decode_audio(clip.path)).text.split()
    result = evaluate(tiny_bundle, [Utterance("quiet", clip.path, "...")])
    assert result.words.insertions == len(heard)
    assert result.words.reference_units == 0
