"""The certain path: what a live search may find where words are committed already.

Committed words never change (`model.stable_words`), and yet the search has to begin with them: the language model goes
on from them. So their path is made the only one. In each of its frames the unit that was committed keeps its
log-probability, and every other becomes impossible, in the letters' columns and, where words are found by their sounds,
in the phones' columns too. The two paths end in different frames; what the search finds of words that come next, and
what it says anew of the committed ones, is fitted to that here.

Shape legend: S output frames, U units, O outputs of the acoustic model (`AcousticModelConfig.columns`).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from model.decoder import DecodedUnit, WordEvidence
from model.phones import N_PHONES
from model.spelled_words import SpelledWord
from model.tokenizer import BLANK_ID

IMPOSSIBLE = -1e4  # log-probability of every unit off the committed path


def with_certain_path(
    rows_SO: Float[Tensor, "S O"],
    committed: Sequence[DecodedUnit],
    *,
    begin: int,
    n_committed: int,
    sounds_until: int,
    n_letters: int,
) -> Float[Tensor, "S O"]:
    """The rows of an utterance, in which nothing but the committed path is possible as far as it goes.

    Args:
        rows_SO: natural-log posteriors from the utterance's begin on; they stay as they are.
        committed: the units of the committed words and the boundaries between and after them.
        begin: number of the utterance's first frame.
        n_committed: frames from there on that the path of the letters has.
        sounds_until: the frame after the last sound of the committed words.
        n_letters: columns of the characters; those of the characters as they are spelled come after them, where there
            are any, and then those of the phones.
    """
    path_S = torch.full((n_committed,), BLANK_ID)
    # From the last one on, because the boundary after a stretch lies in the frame of the letter before it.
    for unit in reversed(committed):
        path_S[unit.first_frame - begin : unit.last_frame + 1 - begin] = unit.id
    forced_SO = rows_SO.clone()
    # Probabilities of the path as before, so that pauses are where they were.
    n_outputs = forced_SO.shape[1]
    for first in range(0, max(1, (n_outputs - N_PHONES) // n_letters) * n_letters, n_letters):
        _force(forced_SO[:n_committed, first : first + n_letters], path_S)
    if sounds_until > begin:
        sounds_S = torch.full((sounds_until - begin,), BLANK_ID)
        for unit in reversed(committed):
            for sound in reversed(unit.evidence.sounds if unit.evidence else ()):
                first = unit.first_frame - begin
                sounds_S[max(0, first + sound.first) : first + sound.last + 1] = sound.id
        _force(forced_SO[: len(sounds_S), -N_PHONES:], sounds_S)
    return forced_SO


def behind_path(word: SpelledWord, committed_until: int) -> list[DecodedUnit]:
    """A word's units and the boundary after it, none before the frame at which the committed path ends.

    In quick speech letters may be aligned to frames that are committed already, when there are too few behind them:
    the word was found by its sounds, and stays whole.
    """
    units = [*word.units, word.after] if word.after else [*word.units]
    moved = [
        replace(
            unit,
            first_frame=max(unit.first_frame, committed_until),
            last_frame=max(unit.last_frame, committed_until),
        )
        for unit in units
    ]
    evidence, by = moved[0].evidence, moved[0].first_frame - word.first_frame
    if evidence is not None and by:
        sounds = tuple(replace(sound, first=sound.first - by, last=sound.last - by) for sound in evidence.sounds)
        moved[0] = replace(moved[0], evidence=replace(evidence, sounds=sounds))
    return moved


def heard_until(word: SpelledWord) -> int:
    """The frame after the last sound by which the word was found; 0 where it was not found by its sounds."""
    evidence = word.units[0].evidence
    return word.first_frame + evidence.sounds[-1].last + 1 if evidence and evidence.sounds else 0


def with_next(committed: DecodedUnit, known: WordEvidence | None) -> DecodedUnit:
    """The unit, with what the search now says of what follows its word; that of the word itself stays as it was."""
    if committed.evidence is None or known is None:
        return committed
    return replace(committed, evidence=replace(committed.evidence, next_log10prob=known.next_log10prob))


def _force(rows_SU: Tensor, path_S: Tensor) -> None:
    """Make everything but the path impossible, in place."""
    frames_S = torch.arange(len(path_S))
    kept_S = rows_SU[frames_S, path_S]
    rows_SU.fill_(IMPOSSIBLE)
    rows_SU[frames_S, path_S] = kept_S
