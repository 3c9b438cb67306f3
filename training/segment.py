"""Long utterances cut to short ones at the speaker's pauses.

A known text is aligned with its audio by a model that need not be good (`model.forced_alignment`); words with a pause
between them are where it is cut. Short utterances train faster, since the time that an LSTM's step takes hardly grows
with the number of rows, and recordings of minutes can be used at all.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from features.audio import SAMPLE_RATE_HZ, Waveform, decode_audio
from features.errors import AudioError
from model.alignment import SegmentConfig, build_segments
from model.errors import ModelError
from model.forced_alignment import force_align
from model.transcriber import Transcriber
from model.transcript import Word
from training.corpora import Utterance, file_stem, normalize_transcript, reject
from training.errors import RecipeError

PAUSE_WINDOW_S = 0.1  # a cut is made in the middle of the quietest stretch of this length
EVEN_DB = 3.0  # … or amid all stretches that are about as quiet
QUIET_DB = 20.0  # a pause's level lies this far below the utterance's
EDGE_S = 1.0  # no piece is shorter
SILENCE_DB = -100.0


@dataclass(frozen=True)
class Pause:
    """A place to cut: before word number `word`, at `time_s`, in a gap of `gap_s` between two words."""

    word: int
    time_s: float
    gap_s: float


def segment(
    transcriber: Transcriber,
    utterances: Sequence[Utterance],
    folder: str | os.PathLike[str],
    *,
    longest_s: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[Utterance]:
    """Cut every utterance longer than `longest_s` and write the pieces as FLAC.

    Args:
        transcriber: its model aligns text and audio.
        utterances: with transcripts that the model's tokenizer can spell.
        folder: where the pieces are written, as `<id>-<number>.flac`; an id that is no file's name becomes one.
        longest_s: pieces are this long at most, in seconds, unless the speaker makes no pause.
        progress: called with the utterances done and the utterances in all.

    Returns:
        Pieces and short utterances, in the order of the utterances; the short ones refer to the audio they had.

    Raises:
        RecipeError: `longest_s` is less than two of the shortest pieces.
        CorpusError: more than 1 % of the utterances cannot be read or aligned, or have the id of another.
    """
    if not longest_s >= 2 * EDGE_S:
        raise RecipeError(f"the longest piece is {longest_s:g} s; it must be at least {2 * EDGE_S:g} s")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    pieces: list[Utterance] = []
    bad: list[str] = []
    seen: set[str] = set()
    for done, utterance in enumerate(utterances, 1):
        if utterance.id in seen:
            bad.append(f"{utterance.id}: another utterance has this id")
        elif 0 < utterance.duration_s <= longest_s:
            pieces.append(utterance)
        else:
            try:
                pieces.extend(_cut(transcriber, utterance, target, longest_s))
            except (AudioError, ModelError, OSError) as error:
                bad.append(f"{utterance.id}: {error}")
        seen.add(utterance.id)
        if progress:
            progress(done, len(utterances))
    reject("no alignment of text and audio", bad, len(utterances))
    return pieces


def _cut(transcriber: Transcriber, utterance: Utterance, folder: Path, longest_s: float) -> Iterator[Utterance]:
    waveform = decode_audio(utterance.path)
    text = normalize_transcript(utterance.transcript).split()
    words = align_words(transcriber, waveform, " ".join(text))
    cuts = choose_cuts(find_pauses(waveform, words), waveform.duration_s, longest_s)
    edges = [Pause(0, 0.0, 0.0), *cuts, Pause(len(text), waveform.duration_s, 0.0)]
    for number, (begin, end) in enumerate(pairwise(edges)):
        first, last = round(begin.time_s * SAMPLE_RATE_HZ), round(end.time_s * SAMPLE_RATE_HZ)
        samples_N = waveform.samples_N[first:last]
        path = folder / f"{file_stem(utterance.id)}-{number}.flac"
        soundfile.write(path, np.clip(samples_N, -1, 1), SAMPLE_RATE_HZ)
        transcript = " ".join(text[begin.word : end.word])
        duration_s = len(samples_N) / SAMPLE_RATE_HZ
        yield Utterance(f"{utterance.id}-{number}", path, transcript, utterance.speaker, duration_s)


def align_words(transcriber: Transcriber, waveform: Waveform, text: str) -> list[Word]:
    """The words of `text` with the times at which they are spoken, in seconds.

    Raises:
        model.errors.ModelError: the text has characters without a unit, or too many for the audio.
    """
    log_probs_SV = transcriber.log_probs(waveform)
    tokenizer = transcriber.bundle.tokenizer
    segments = build_segments(
        force_align(log_probs_SV, tokenizer.encode(text)),
        log_probs_SV,
        tokenizer,
        frame_s=waveform.duration_s / max(1, len(log_probs_SV)),
        duration_s=waveform.duration_s,
        config=SegmentConfig(pause_s=1e9, longest_s=1e9),
    )
    return [word for group in segments for word in group.words]


def find_pauses(waveform: Waveform, words: Sequence[Word]) -> list[Pause]:
    """Gaps between words in which it is quiet for `PAUSE_WINDOW_S`, by `QUIET_DB` below the utterance's level."""
    window = round(PAUSE_WINDOW_S * waveform.sample_rate_hz)
    energy_N = np.concatenate([[0.0], np.cumsum(np.square(waveform.samples_N, dtype=np.float64))])
    level_N = _db((energy_N[window:] - energy_N[:-window]) / window)  # of the window that begins at each sample
    loud_db = _db(np.asarray(energy_N[-1] / max(1, len(waveform.samples_N))))
    pauses = []
    for number, (before, after) in enumerate(pairwise(words), 1):
        first, last = (round(time_s * waveform.sample_rate_hz) for time_s in (before.end_s, after.start_s))
        inside = level_N[first : last - window]
        if len(inside) and inside.min() < loud_db - QUIET_DB:
            quietest = np.flatnonzero(inside <= inside.min() + EVEN_DB)
            time_s = (first + int(quietest[len(quietest) // 2]) + window / 2) / waveform.sample_rate_hz
            pauses.append(Pause(number, time_s, after.start_s - before.end_s))
    return pauses


def choose_cuts(pauses: Sequence[Pause], duration_s: float, longest_s: float, begin_s: float = 0.0) -> list[Pause]:
    """Halve what is too long at the longest pause of its middle part, until nothing is, or no pause is left."""
    end_s = begin_s + duration_s
    if duration_s <= longest_s:
        return []
    margin_s = max(EDGE_S, 0.2 * duration_s)
    inside = [pause for pause in pauses if begin_s + EDGE_S <= pause.time_s <= end_s - EDGE_S]
    middle = [pause for pause in inside if begin_s + margin_s <= pause.time_s <= end_s - margin_s]
    if not inside:
        return []
    cut = max(middle or inside, key=lambda pause: pause.gap_s)
    left = [pause for pause in inside if pause.time_s < cut.time_s]
    right = [pause for pause in inside if pause.time_s > cut.time_s]
    return [
        *choose_cuts(left, cut.time_s - begin_s, longest_s, begin_s),
        cut,
        *choose_cuts(right, end_s - cut.time_s, longest_s, cut.time_s),
    ]


def _db(power: np.ndarray) -> np.ndarray:
    level: np.ndarray = 10 * np.log10(np.maximum(power, 10 ** (SILENCE_DB / 10)))
    return level
