"""Transcripts for speech that has none: by a model, where it agrees with itself.

The same network is read twice, greedily and with the language model. Where the words of the search hardly differ from
the letters of the network, both are likely to be right; the language model's text is kept, since it corrects letters.
Source of the idea: Kahn, Lee and Hannun, "Self-training for end-to-end speech recognition", ICASSP 2020.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from model.bulk import transcribe_many
from model.errors import OptionError
from model.transcriber import Transcriber
from model.transcript import Transcript
from training.corpora import Utterance, normalize_transcript, reject
from training.metrics import character_errors


@dataclass(frozen=True)
class PseudoLabel:
    """What was heard in an utterance.

    Attributes:
        utterance: with the language model's text as its transcript, and its duration as decoded.
        disagreement: character error rate of the greedy text against that one, as a fraction; it can exceed 1.
    """

    utterance: Utterance
    disagreement: float


def pseudo_label(
    led: Transcriber,
    greedy: Transcriber,
    utterances: Sequence[Utterance],
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[PseudoLabel]:
    """Transcribe every utterance twice, in corpus order; `choose` says which of them to train on.

    Args:
        led: decodes with a language model.
        greedy: the same model without.
        utterances: their transcripts, if there are any, are not looked at.
        threads: processor threads; None for as many as torch uses.
        progress: called with the utterances done and the utterances in all.

    Raises:
        OptionError: the model has no language model.
        CorpusError: more than 1 % of the audio cannot be read.
    """
    if led.bundle.language_model is None:
        raise OptionError(f"bundle {led.name!r} has no language model; both texts would be the same: attach one first")
    paths = [utterance.path for utterance in utterances]
    spoken = _all(transcribe_many(led, paths, threads=threads), 0, len(paths), progress)
    spelled = _all(transcribe_many(greedy, paths, threads=threads), len(paths), len(paths), progress)
    labels, bad = [], []
    for utterance, words, letters in zip(utterances, spoken, spelled, strict=True):
        if isinstance(words, Exception) or isinstance(letters, Exception):
            bad.append(f"{utterance.path}: {words if isinstance(words, Exception) else letters}")
            continue
        text = normalize_transcript(words.text)
        disagreement = character_errors([text], [normalize_transcript(letters.text)]).rate
        heard = replace(utterance, transcript=text, duration_s=words.duration_s)
        labels.append(PseudoLabel(heard, disagreement))
    reject("audio that cannot be transcribed", bad, len(utterances))
    return labels


def choose(labels: Sequence[PseudoLabel], *, most_disagreement: float, least_words: int) -> list[Utterance]:
    """The utterances whose two texts differ by at most `most_disagreement`, and that have enough words.

    Raises:
        OptionError: the disagreement is negative, or no word is asked for.
    """
    if not most_disagreement >= 0 or least_words < 1:
        raise OptionError(
            f"the most disagreement is {most_disagreement} and the least words {least_words}; "
            "at least 0 and at least 1 are needed"
        )
    return [
        label.utterance
        for label in labels
        if label.disagreement <= most_disagreement and len(label.utterance.transcript.split()) >= least_words
    ]


def _all(
    transcripts: Iterator[Transcript | Exception],
    before: int,
    count: int,
    progress: Callable[[int, int], None] | None,
) -> list[Transcript | Exception]:
    """Everything of one of two readings; `before` is what the other one has done."""
    found = []
    for done, transcript in enumerate(transcripts, 1):
        found.append(transcript)
        if progress:
            progress(before + done, 2 * count)
    return found
