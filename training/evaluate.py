"""Evaluation: a corpus through the same `Transcriber` that serves, and its errors counted."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from features.audio import decode_audio
from features.errors import AudioError
from model.checkpoint import Bundle
from model.transcriber import Transcriber
from training.corpora import Utterance, normalize_transcript, read_corpus, reject
from training.metrics import ErrorCounts, character_errors, word_errors


@dataclass(frozen=True)
class UtteranceResult:
    """One utterance: what was said, what was recognised, and the errors.

    Attributes:
        utterance: as the corpus has it.
        reference, hypothesis: what was said, normalised, and what was recognised.
        words, characters: the errors.
        duration_s: seconds of audio, as decoded.
        confidences: of each word of the hypothesis, 0..1.
    """

    utterance: Utterance
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts
    duration_s: float
    confidences: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """The result on a corpus.

    Attributes:
        results: in corpus order.
        audio_s: seconds of audio.
        wall_s: seconds that decoding the files and recognising took.
    """

    results: tuple[UtteranceResult, ...]
    audio_s: float
    wall_s: float

    @property
    def words(self) -> ErrorCounts:
        """Word errors of all utterances."""
        return sum((result.words for result in self.results), ErrorCounts())

    @property
    def characters(self) -> ErrorCounts:
        """Character errors of all utterances."""
        return sum((result.characters for result in self.results), ErrorCounts())

    @property
    def wer(self) -> float:
        """Word error rate, as a fraction."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Character error rate, as a fraction."""
        return self.characters.rate

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work for a second of audio."""
        return self.wall_s / max(1e-9, self.audio_s)

    def as_json(self) -> dict[str, float | int]:
        """The numbers that `cepstra evaluate --json` writes; rates are fractions."""
        words = self.words
        return {
            "wer": self.wer,
            "cer": self.cer,
            "substitutions": words.substitutions,
            "deletions": words.deletions,
            "insertions": words.insertions,
            "words": words.reference_units,
            "utterances": len(self.results),
            "audio_s": self.audio_s,
            "rtf": self.rtf,
        }


def evaluate(
    model: Bundle | Transcriber,
    corpus: str | os.PathLike[str] | Sequence[Utterance],
    *,
    limit: int | None = None,
    spread: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Transcribe a corpus and count the errors against its normalised transcripts.

    Args:
        model: a bundle or a transcriber.
        corpus: a corpus as `read_corpus` reads it, or its utterances.
        limit: how many utterances, None for all.
        spread: take them evenly from the whole corpus instead of its beginning.
        progress: called with utterances done and utterances in all.

    Raises:
        CorpusError: there is no corpus, or more than 1 % of its audio cannot be read.
    """
    transcriber = model if isinstance(model, Transcriber) else Transcriber(model)
    utterances = list(read_corpus(corpus)) if isinstance(corpus, str | os.PathLike) else list(corpus)
    if limit is not None and limit < len(utterances):
        step = len(utterances) / limit if spread else 1
        utterances = [utterances[int(index * step)] for index in range(limit)]
    results, unreadable = [], []
    audio_s = wall_s = 0.0
    for done, utterance in enumerate(utterances, 1):
        began = time.perf_counter()
        try:
            transcript = transcriber.transcribe(decode_audio(utterance.path))
        except (AudioError, OSError) as error:
            unreadable.append(f"{utterance.path}: {error}")
            continue
        wall_s += time.perf_counter() - began
        audio_s += transcript.duration_s
        reference = normalize_transcript(utterance.transcript)
        results.append(
            UtteranceResult(
                utterance,
                reference,
                transcript.text,
                word_errors([reference], [transcript.text]),
                character_errors([reference], [transcript.text]),
                transcript.duration_s,
                tuple(word.confidence for word in transcript.words),
            )
        )
        if progress:
            progress(done, len(utterances))
    reject("audio that cannot be read", unreadable, len(utterances))
    return Evaluation(tuple(results), audio_s, wall_s)
