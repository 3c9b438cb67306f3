"""Words found by their sounds: beam search over phones, a second opinion of the letters, and where the letters lie.

Shape legend: S output frames, O outputs of the acoustic model (characters, then phones), U phones and blank.

English is not spelled as it is spoken, and a network that has heard few hours of it learns its phones long before its
spelling. So the search goes through a lexicon of pronunciations, in the phones' columns of the log-probs
(`model.beam_search`). Of the word sequences it ends with, the best few are judged by the letters' columns too:

    score = (1 − letter_weight) · log P(phones | audio) + letter_weight · log P(letters | audio)
            − penalties + lm_weight · log10 P(words) + word_bonus · number of words

where both probabilities are those of all CTC paths which give the words, of the phones' as many as the beam holds, with
the penalties of blank and boundary for either. Two heads of one network err in different places, and homophones are
told apart by nothing but the language model and the letters. At last the letters of the best words are aligned to
the audio (`model.forced_alignment`), so that everything behind the search has characters with times, whichever way the
words were found.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.beam_search import IMPOSSIBLE, BeamSearch
from model.cancellation import check
from model.decoder import DecodedUnit, Sound, append_stretch, units_along
from model.errors import HotWordError, OptionError
from model.forced_alignment import force_align
from model.hypothesis import Hypothesis
from model.language_model import LanguageModel
from model.letter_to_sound import LetterToSound
from model.phones import N_PHONES
from model.stretches import STRETCHES, StretchConfig, plan_stretches
from model.tokenizer import BLANK_ID, Tokenizer
from model.word_evidence import Reading, attach, hear, weigh
from model.word_units import Sounds

PRONOUNCED_AT_ONCE = 32  # hot words that the lexicon lacks; in between, the work can be cancelled
MOST_JUDGED = 8  # word sequences of a stretch that the letters are asked about


class SoundSearch(BeamSearch):
    """The search for a model with a phone head; stands wherever a `BeamSearch` stands, and is as safe for threads.

    Args:
        tokenizer: what the characters' columns of the log-probs mean.
        language_model: what leads the search; its words without a pronunciation are left out.
        letter_to_sound: pronounces hot words that the lexicon lacks; None where there can be none.
        at_once: as in `BeamSearch`.

    Raises:
        OptionError: as in `BeamSearch`.
    """

    _all_paths = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        language_model: LanguageModel,
        letter_to_sound: LetterToSound | None = None,
        *,
        at_once: int | None = None,
        stretches: StretchConfig = STRETCHES,
    ) -> None:
        self._letter_to_sound = letter_to_sound
        self._n_letters = tokenizer.vocabulary_size
        self._spelled: dict[str, list[int]] = {}
        units = Sounds(language_model.pronunciations)
        super().__init__(tokenizer, language_model, at_once=at_once, units=units, stretches=stretches)

    def decode(self, log_probs_SO: Float[Tensor, "S O"]) -> list[DecodedUnit]:
        """The characters of the best words, in order of time, boundaries between words.

        `logprob` of a unit is the acoustic model's alone; a word's first unit has the search's evidence for the word,
        and its sounds.
        """
        units: list[DecodedUnit] = []
        for first, end in plan_stretches(log_probs_SO[:, BLANK_ID], self._stretches):
            stretch_SO = log_probs_SO[first:end]
            found = self._judged(stretch_SO)
            evidence = weigh([one.reading for one in found], found[0].log10probs)
            spelled = self._spell(found[0], stretch_SO)
            evidence = hear(evidence, self._sounds(found[0], spelled))
            spelled = attach(spelled, self.boundary, evidence)
            append_stretch(units, _shifted(spelled, first), self.boundary)
        return units

    def _hypotheses(self, log_probs_SO: Tensor, first_frame: int, n: int) -> list[Hypothesis]:
        hypotheses = []
        for one in self._judged(log_probs_SO, max(n, MOST_JUDGED))[:n]:
            spelled = self._spell(one, log_probs_SO)
            units = tuple(_shifted(spelled, first_frame))
            score, acoustic = one.reading.score, one.reading.score - one.told
            sounds = self._sounds(one, spelled)
            hypotheses.append(Hypothesis(one.reading.words, units, acoustic, one.log10probs, score, one.boost, sounds))
        return hypotheses

    def _ways_of(self, words: Sequence[str]) -> dict[str, Sequence[Sequence[int]]]:
        ways = super()._ways_of(words)
        others = [word for word in words if not ways[word]]
        if others and self._letter_to_sound is None:
            raise HotWordError(
                f"the hot word {others[0]!r} is not in the lexicon, and the model cannot pronounce others"
            )
        for first in range(0, len(others), PRONOUNCED_AT_ONCE):
            check(self._cancelled)
            some = others[first : first + PRONOUNCED_AT_ONCE]
            assert self._letter_to_sound is not None
            try:
                ways |= {word: [way] for word, way in zip(some, self._letter_to_sound.pronounce(some), strict=True)}
            except OptionError as error:
                raise HotWordError(f"a hot word cannot be pronounced: {error}") from error
        return ways

    def _judged(self, log_probs_SO: Tensor, most: int = MOST_JUDGED) -> "list[_Found]":
        """The best word sequences of a stretch, no two the same, with what the letters say; the best first."""
        found: dict[tuple[int, ...], _Found] = {}
        for result in self._results(log_probs_SO):
            words = result.words  # a copy each time
            word_ids = tuple([word for word in words if word >= 0])
            if word_ids in found:
                continue
            ends = [(text, at) for at, word in enumerate(words) if word >= 0 for text in self._texts(word)]
            reading = Reading(tuple(text for text, _ in ends), tuple(at for _, at in ends), result.score)
            path_S, _, boost = self._path(result.tokens, words)
            log10probs = self._spread(word_ids, self._word_log10probs(word_ids, self._lm.start(False)))
            told = self.config.lm_weight * sum(log10probs) + self.config.word_bonus * len(ends) + boost
            found[word_ids] = _Found(reading, word_ids, path_S, told, boost, log10probs)
            if len(found) == most:
                break
        sequences = [*found.values()]
        weight = self.config.letter_weight
        letters_N = self._letter_scores(log_probs_SO, sequences) if weight else [0.0] * len(sequences)
        if math.isinf(letters_N[0]):  # said too quickly for letters to have an opinion
            return sequences
        judged = [
            replace(
                one, reading=replace(one.reading, score=(1 - weight) * one.reading.score + weight * (score + one.told))
            )
            for one, score in zip(sequences, (max(score, IMPOSSIBLE) for score in letters_N), strict=True)
        ]
        # Those that are asked for beyond come after them, so that the first is the same however many are asked for.
        first, beyond = judged[:MOST_JUDGED], judged[MOST_JUDGED:]
        return [one for some in (first, beyond) for one in sorted(some, key=lambda one: -one.reading.score)]

    def _letter_scores(self, log_probs_SO: Tensor, sequences: "Sequence[_Found]") -> list[float]:
        """Natural-log probability of each sequence's letters; minus infinity where the frames are too few for them."""
        letters_SV = log_probs_SO[:, : self._n_letters].float().clone()
        letters_SV[:, BLANK_ID] -= self.config.blank_penalty
        letters_SV[:, self.boundary] -= self.config.boundary_penalty
        targets = [torch.tensor(self._letters(one)) for one in sequences]
        n_frames, n_rows = len(letters_SV), len(targets)
        losses_N = nn.functional.ctc_loss(
            letters_SV.unsqueeze(1).expand(n_frames, n_rows, self._n_letters),
            nn.utils.rnn.pad_sequence(targets, batch_first=True).long(),
            torch.full((n_rows,), n_frames),
            torch.tensor([len(target) for target in targets]),
            reduction="none",
        )
        scores: list[float] = (-losses_N).tolist()
        return scores

    def _letters(self, found: "_Found") -> list[int]:
        """The characters of its words, boundaries between them."""
        letters: list[int] = []
        for word in found.reading.words:
            spelled = self._spelled.get(word) or self._tokenizer.encode(word)
            if word in self._labels:  # the same few words of the lexicon are written again and again
                self._spelled[word] = spelled
            letters += [*spelled, self.boundary]
        return letters[:-1]

    def _spell(self, found: "_Found", log_probs_SO: Tensor) -> list[DecodedUnit]:
        """The letters of the words on their best path, with the boundary behind them where the sounds have one."""
        letters_SV = log_probs_SO[:, : self._n_letters]
        target = self._letters(found)
        if found.ends_with(self._units.boundary):
            target.append(self.boundary)
        try:
            return force_align(letters_SV, target)
        except OptionError:  # too few frames for the letters: quick speech, long spelling
            return self._spell_evenly(found, letters_SV)

    def _spell_evenly(self, found: "_Found", letters_SV: Tensor) -> list[DecodedUnit]:
        units: list[DecodedUnit] = []
        for word, sounds in zip(found.reading.words, found.sounds(self._units.boundary), strict=True):
            first, last = sounds[0].first_frame, sounds[-1].last_frame
            if units:
                units.append(_at(first, self.boundary, letters_SV))
            letters = self._tokenizer.encode(word)
            units += [
                _at(first + (last + 1 - first) * place // len(letters), unit, letters_SV)
                for place, unit in enumerate(letters)
            ]
        return units

    def _sounds(self, found: "_Found", units: Sequence[DecodedUnit]) -> tuple[tuple[Sound, ...], ...]:
        """Of each word, which begin with the first unit and behind boundaries."""
        begins = [
            unit.first_frame
            for at, unit in enumerate(units)
            if unit.id != self.boundary and (at == 0 or units[at - 1].id == self.boundary)
        ]
        return tuple(
            tuple(Sound(one.id, one.first_frame - begin, one.last_frame - begin) for one in sounds)
            for begin, sounds in zip(begins, found.sounds(self._units.boundary), strict=True)
        )


@dataclass(frozen=True)
class _Found:
    """A word sequence that the beam ends with.

    Attributes:
        reading: its words, and the score they are ordered by.
        word_ids: the words, and terms of several, as the language model knows them.
        path_S: the phone, or the blank, of every frame on the likeliest path.
        told: what the score has from the language model, the word bonus and hot words.
        boost: of hot words.
        log10probs: of each word and the end, by the language model.
    """

    reading: Reading
    word_ids: tuple[int, ...]
    path_S: list[int]
    told: float
    boost: float
    log10probs: tuple[float, ...]

    def sounds(self, boundary: int) -> list[list[DecodedUnit]]:
        """The phones of each word on the path, with the boundary behind them where a frame has it."""
        words: list[list[DecodedUnit]] = []
        inside = False
        for unit in units_along(self.path_S, torch.zeros(len(self.path_S), N_PHONES)):
            if unit.id != boundary:
                if not inside:
                    words.append([])
                words[-1].append(unit)
            elif inside:
                words[-1].append(replace(unit, last_frame=unit.first_frame))
            inside = unit.id != boundary
        return words

    def ends_with(self, boundary: int) -> bool:
        """Whether a frame has a boundary behind the last word."""
        units = [unit for unit in self.path_S if unit != BLANK_ID]
        return bool(units) and bool(self.word_ids) and units[-1] == boundary


def _shifted(units: Sequence[DecodedUnit], n_frames: int) -> Sequence[DecodedUnit]:
    if not n_frames:
        return units
    return [  # `replace` takes five times as long
        DecodedUnit(one.id, one.first_frame + n_frames, one.last_frame + n_frames, one.logprob, one.evidence)
        for one in units
    ]


def _at(frame: int, unit: int, log_probs_SV: Tensor) -> DecodedUnit:
    return DecodedUnit(unit, frame, frame, min(0.0, float(log_probs_SV[frame, unit])))
