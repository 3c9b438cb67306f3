"""Evaluation: a corpus through the same `Transcriber` that serves, and its errors counted.

Several utterances are on their way at the same time, each by itself: what is heard does not depend on its neighbours.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from features.errors import AudioError
from model.bulk import transcribe_many
from model.checkpoint import Bundle
from model.transcriber import Transcriber
from model.transcript import Transcript
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
        wall_s: seconds that decoding the files and recognising took, all of them together.
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
    heard: list[tuple[Utterance, Transcript]] = []
    unreadable: list[str] = []
    began = time.perf_counter()
    with closing(transcribe_many(transcriber, [utterance.path for utterance in utterances], batched=False)) as results:
        for done, (utterance, result) in enumerate(zip(utterances, results, strict=True), 1):
            if isinstance(result, Transcript):
                heard.append((utterance, result))
            elif isinstance(result, AudioError | OSError):
                unreadable.append(f"{utterance.path}: {result}")
            else:
                raise result
            if progress:
                progress(done, len(utterances))
    wall_s = time.perf_counter() - began
    reject("audio that cannot be read", unreadable, len(utterances))
    audio_s = sum(transcript.duration_s for _, transcript in heard)
    return Evaluation(tuple(_judged(*pair) for pair in heard), audio_s, wall_s)


def _judged(utterance: Utterance, transcript: Transcript) -> UtteranceResult:
    reference = normalize_transcript(utterance.transcript)
    return UtteranceResult(
        utterance,
        reference,
        transcript.text,
        word_errors([reference], [transcript.text]),
        character_errors([reference], [transcript.text]),
        transcript.duration_s,
        tuple(word.confidence for word in transcript.words),
    )
