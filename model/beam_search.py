"""CTC beam search over the words of a lexicon, led by an n-gram language model.

Shape legend: S output frames, V vocabulary.

Of all ways to write the audio with words of the lexicon, the search looks for the one with the highest

    log P(path | audio) − penalties of its blanks and boundaries + lm_weight · log10 P(words) + word_bonus · words

keeping `beam_size` beginnings at every frame; hot words add their boost. Source: Graves and Jaitly, "Towards end-to-end
speech recognition with recurrent neural networks", ICML 2014; the search itself is flashlight's (Kahn et al.,
"Flashlight", ICML 2022), the language model KenLM's (Heafield, "KenLM", WMT 2011).
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from flashlight.lib.text.decoder import CriterionType, LexiconDecoder, LexiconDecoderOptions, LMState
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from jaxtyping import Float
from torch import Tensor

from model.cancellation import CancelToken
from model.decoder import DecodedUnit, append_stretch, units_along
from model.errors import OptionError
from model.hot_lexicon import HotEntry, HotLexicon, HotTerm, hot_trie, ways_of_term
from model.hot_words import MOST_TERMS, HotWords, spell
from model.house import processors
from model.hypothesis import Hypothesis, NBest
from model.language_model import BeamSearchConfig, LanguageModel
from model.stretches import STRETCHES, StretchConfig, plan_stretches
from model.tokenizer import BLANK_ID, WORD_BOUNDARY, Tokenizer
from model.turns import Gate
from model.unlocked_search import SearchSteps, searches_unlocked
from model.word_evidence import MOST_READINGS, Reading, attach, weigh
from model.word_units import Letters, WordUnits, grow_trie

UNKNOWN_WORD = "<unk>"
IMPOSSIBLE = -1e4  # a log-probability that no beam survives
# Searched at once, half a second of audio: 2 ms with the shipped widths. Between pieces more urgent searches have their
# turn, and the work can be cancelled.
PIECE_FRAMES = 12
TERM_STEP = 0.5  # to which what a term of several words adds is rounded: every value is a unit that is searched with


class BeamSearch:
    """The search for one tokenizer and language model; building it takes a second or two.

    Safe to call from several threads, of which as many search at the same time as there are processors, without
    Python's lock (`model.unlocked_search`): the most urgent ones (`model.turns`), and after every piece that may be
    others. What a thread finds does not depend on the others.

    Args:
        tokenizer: what the characters' columns of the log-probs mean.
        language_model: what leads the search. Words that cannot be written in the units are left out.
        at_once: searches at the same time; None for one for each processor that this process may use.
        units: what is searched through; None for the tokenizer's.
        stretches: how what is searched at once is cut.

    Attributes:
        config: the weights and widths that it searches with.
        boundary: the tokenizer's unit between words.

    Raises:
        OptionError: no word can be spelled, the tokenizer has no word boundary, KenLM cannot read the model, or
            `at_once` is below 1.
    """

    config: BeamSearchConfig
    boundary: int
    _all_paths = False  # the score of words is that of their best path, or of all their paths

    def __init__(
        self,
        tokenizer: Tokenizer,
        language_model: LanguageModel,
        *,
        at_once: int | None = None,
        units: WordUnits | None = None,
        stretches: StretchConfig = STRETCHES,
    ) -> None:
        if at_once is not None and at_once < 1:
            raise OptionError(f"{at_once} searches at once were asked for; 1 is the least")
        if WORD_BOUNDARY not in tokenizer.characters:
            raise OptionError(f"the tokenizer has no word boundary among {tokenizer.characters!r}")
        self._units = units = units or Letters(tokenizer)
        writable = [word for word in language_model.words if units.ways(word.lower())]
        if not writable:
            raise OptionError(f"none of the lexicon's {len(language_model.words)} words can be spelled")
        dictionary = Dictionary()
        self._unknown = len(writable)
        # Behind the lexicon, names that the language model does not know: one for each term that is no word of it.
        unknown = [f"<hot {number}>" for number in range(MOST_TERMS)]
        for index, word in enumerate((*writable, UNKNOWN_WORD, *unknown)):
            dictionary.add_entry(word, index)
        self._lexicon = [word.lower() for word in writable]
        self._labels = {word.lower(): index for index, word in reversed([*enumerate(writable)])}
        try:
            self._lm = KenLM(str(language_model.path), dictionary)
        except RuntimeError as error:
            raise OptionError(f"{language_model.path} is no language model that KenLM reads: {error}") from error
        self._tokenizer = tokenizer
        self._stretches = stretches
        self.boundary = tokenizer.encode(WORD_BOUNDARY)[0]
        self._boundary_U = torch.full((units.n_units,), IMPOSSIBLE)
        self._boundary_U[units.boundary] = 0.0
        start = self._lm.start(False)
        ahead = (self._lm.score(start, index)[1] for index in range(len(writable)))
        self._trie = grow_trie(units, zip(self._lexicon, ahead, strict=True))
        self._hot = HotLexicon()
        self._cancelled: CancelToken | None = None
        self._gate = Gate((at_once or processors()) if searches_unlocked() else 1)
        self._use(language_model.search)

    def with_config(self, config: BeamSearchConfig) -> "BeamSearch":
        """The same search with other weights and widths; shares the lexicon and the model, so it costs nothing."""
        other = copy.copy(self)
        other._use(config)
        return other

    def stopped_by(self, cancelled: CancelToken | None) -> "BeamSearch":
        """The same search, which raises `WorkCancelledError` soon after `cancelled` was cancelled."""
        other = copy.copy(self)
        other._cancelled = cancelled
        return other

    def with_hot_words(self, hot_words: HotWords) -> "BeamSearch":
        """The same search, which prefers some words, and knows those of them that the lexicon lacks.

        To the language model, a term that is no word of the lexicon is an unknown word; one of several words has the
        probability of its words in that order. Making it takes about a millisecond for each word, and several for each
        that has to be pronounced.

        Raises:
            HotWordError: a term cannot be spelled.
        """
        other = copy.copy(self)
        other._hot = self._plan(hot_words)
        other._use(self.config)
        return other

    def _plan(self, hot_words: HotWords) -> HotLexicon:
        weight, n_units = self.config.lm_weight, self._units.n_units
        in_log10 = 1 / weight if weight else 0.0  # of what is added to a score, next to the model's probabilities
        nowhere = self._lm.start(True)
        unknown = self._lm.score(nowhere, self._unknown)[1]
        ends: dict[float, int] = {}
        entries: list[HotEntry] = []
        terms: dict[int, HotTerm] = {}
        spelled = dict.fromkeys(spell(term, self._tokenizer) for term in hot_words.terms)
        ways = self._ways_of([*dict.fromkeys(word for words in spelled for word in words)])
        for words in spelled:
            added = boost = hot_words.boost * len(words)
            label = self._labels.get(words[0], -1) if len(words) == 1 else -1
            ahead = []  # in each word of the term: the language model's probability so far, and the boost of one word
            if label < 0:
                label = self._unknown + 1 + len(terms)
                extra = 0.0
                if len(words) > 1:
                    labels = [self._labels.get(word, self._unknown) for word in words]
                    log10probs = self._word_log10probs(labels, nowhere)[:-1]
                    extra = weight * (sum(log10probs) - unknown)
                    extra = round((extra + self.config.word_bonus * (len(words) - 1)) / TERM_STEP) * TERM_STEP
                    ahead = [
                        so_far + (hot_words.boost + at * self.config.word_bonus) * in_log10
                        for at, so_far in enumerate(accumulate(log10probs))
                    ]
                terms[label] = HotTerm(len(words), extra, boost, words)
                added += extra
            end_unit = ends.setdefault(added, n_units + len(ends))
            ahead = ahead or [self._lm.score(self._lm.start(False), label)[1] + boost * in_log10]
            entries += [
                HotEntry(way, end_unit, label, ahead, self._units.boundary)
                for way in ways_of_term(words, ways, self._units.boundary)
            ]
        trie = hot_trie(self._trie, entries, n_units + len(ends), self._units.boundary)
        return HotLexicon(trie, tuple(ends), terms, hot_words.boost)

    def _ways_of(self, words: Sequence[str]) -> dict[str, Sequence[Sequence[int]]]:
        """Every way to write each of some hot words, one at least."""
        return {word: self._units.ways(word) for word in words}

    def _use(self, config: BeamSearchConfig) -> None:
        self.config = config
        self._options = LexiconDecoderOptions(
            beam_size=config.beam_size,
            # A boost may bring the ends of hot words to the front of any frame; they push out no other unit.
            beam_size_token=min(config.beam_units, self._units.n_units) + len(self._hot.added),
            # The beginning of a hot word is ahead by its boost: what else is said must not be dropped until it ends.
            beam_threshold=config.beam_threshold + self._hot.boost,
            lm_weight=config.lm_weight,
            word_score=config.word_bonus,
            unk_score=float("-inf"),
            sil_score=0.0,
            log_add=self._all_paths,
            criterion_type=CriterionType.CTC,
        )

    def decode(self, log_probs_SV: Float[Tensor, "S V"]) -> list[DecodedUnit]:
        """The best path's units, in order of time; they spell words of the lexicon with boundaries between.

        `logprob` of a unit is the acoustic model's alone; a word's first unit has the search's evidence for the word.
        """
        units: list[DecodedUnit] = []
        for first, end in plan_stretches(log_probs_SV[:, BLANK_ID], self._stretches):
            stretch_SV = log_probs_SV[first:end]
            results = self._results(stretch_SV)
            path_S, word_ids, _ = self._path(results[0].tokens, results[0].words)
            word_log10probs = self._spread(word_ids, self._word_log10probs(word_ids, self._lm.start(False)))
            evidence = weigh(self._readings(results), word_log10probs)
            found = attach(units_along(path_S, stretch_SV, first_frame=first), self.boundary, evidence)
            append_stretch(units, found, self.boundary)
        return units

    def n_best(self, log_probs_SV: Float[Tensor, "S V"], n: int) -> list[NBest]:
        """The n best word sequences, for every stretch of at most 30 s by itself, in order of time.

        Audio longer than that is searched in stretches, each a sentence of its own to the language model, so there is
        no list for all of it together; the first hypotheses of all stretches are what `decode` finds, however many are
        asked for. A list is shorter than n where the beam ends with fewer: most of its `beam_size` beginnings differ in
        frames, not in words.

        Raises:
            OptionError: n is below 1.
        """
        if n < 1:
            raise OptionError(f"the {n} best hypotheses were asked for; 1 is the least")
        return [
            NBest(first, end, tuple(self._hypotheses(log_probs_SV[first:end], first, n)))
            for first, end in plan_stretches(log_probs_SV[:, BLANK_ID], self._stretches)
        ]

    def _hypotheses(self, log_probs_SV: Tensor, first_frame: int, n: int) -> list[Hypothesis]:
        found: dict[tuple[str, ...], Hypothesis] = {}
        for path_S, word_ids, boost in self._search(log_probs_SV):
            units = tuple(units_along(path_S, log_probs_SV, first_frame=first_frame))
            words = tuple(self._tokenizer.decode([unit.id for unit in units]).split())
            if words in found:
                continue
            acoustic = float(log_probs_SV.gather(1, torch.tensor(path_S).unsqueeze(1)).double().sum())
            config = self.config
            acoustic -= config.blank_penalty * path_S.count(BLANK_ID)
            acoustic -= config.boundary_penalty * path_S.count(self._units.boundary)
            word_log10probs = self._spread(word_ids, self._word_log10probs(word_ids, self._lm.start(False)))
            score = acoustic + config.lm_weight * sum(word_log10probs) + config.word_bonus * len(words) + boost
            found[words] = Hypothesis(words, units, acoustic, word_log10probs, score, boost)
            if len(found) == n:
                break
        return list(found.values())

    def _search(self, log_probs_SV: Tensor) -> Iterator[tuple[list[int], list[int], float]]:
        """What the beam ends with, the best first: the unit of every frame, the lexicon's words in order, the boost."""
        return (self._path(result.tokens, result.words) for result in self._results(log_probs_SV))

    def _readings(self, results: Sequence[Any]) -> list[Reading]:
        """The words that the beam ends with, no two the same; much cheaper than an N-best list of as many."""
        found: dict[tuple[int, ...], Reading] = {}
        for result in results:
            in_frames = [(word, frame) for frame, word in enumerate(result.words) if word >= 0]
            word_ids = tuple(word for word, _ in in_frames)
            if word_ids in found:
                continue
            ends = [(text, frame) for word, frame in in_frames for text in self._texts(word)]
            found[word_ids] = Reading(tuple(text for text, _ in ends), tuple(frame for _, frame in ends), result.score)
            if len(found) == MOST_READINGS:
                break
        return list(found.values())

    def _texts(self, word_id: int) -> tuple[str, ...]:
        return self._hot.terms[word_id].words if word_id in self._hot.terms else (self._lexicon[word_id],)

    def _results(self, log_probs_SO: Tensor) -> Sequence[Any]:
        """What the beam ends with as flashlight has it, the best first."""
        # A word of the search ends with a boundary, also the last one, after which speech has none: a frame is added
        # in which it costs nothing.
        with_end_SU = torch.cat([self._units.columns(log_probs_SO), self._boundary_U.unsqueeze(0)]).float()
        with_end_SU[:-1, BLANK_ID] -= self.config.blank_penalty
        with_end_SU[:-1, self._units.boundary] -= self.config.boundary_penalty
        ends_SX = with_end_SU[:, self._units.boundary, None] + torch.tensor(self._hot.added)
        with_end_SU = torch.cat([with_end_SU, ends_SX], 1).contiguous()
        # One for every search: it holds the beam.
        decoder = LexiconDecoder(
            self._options,
            self._hot.trie or self._trie,
            self._lm,
            self._units.boundary,
            BLANK_ID,
            self._unknown,
            [],
            False,
        )
        steps = SearchSteps(decoder)
        with self._gate.entered(self._cancelled) as give_way:
            steps.begin()
            for piece_SU in torch.split(with_end_SU, PIECE_FRAMES):
                give_way()
                steps.step(piece_SU.data_ptr(), len(piece_SU), with_end_SU.shape[1])
            steps.end()
            results: Sequence[Any] = decoder.get_all_final_hypothesis()
            steps.forget()
        return results

    def _path(self, tokens: list[int], words: list[int]) -> tuple[list[int], list[int], float]:
        n_units, boundary = self._units.n_units, self._units.boundary
        hot = [word for token, word in zip(tokens, words, strict=True) if token >= n_units]
        boost = sum(self._hot.terms[word].boost if word in self._hot.terms else self._hot.boost for word in hot)
        # without the sentence's begin and end, and the frame that was added
        path = [boundary if token >= n_units else token for token in tokens[1:-2]]
        # A beginning that could not be ended is no word; within a term of several words, it may have boundaries.
        ended = max((at for at, word in enumerate(words) if word >= 0), default=0)
        if any(unit not in (BLANK_ID, boundary) for unit in path[ended:]):
            path[ended:] = [BLANK_ID] * (len(path) - ended)
        return path, [word for word in words if word >= 0], boost

    def _spread(self, word_ids: Sequence[int], scores: Sequence[float]) -> tuple[float, ...]:
        """The language model's scores with as many for each term as it has words; what it adds is in them."""
        spread: list[float] = []
        for word_id, score in zip(word_ids, scores, strict=False):
            term = self._hot.terms.get(word_id, HotTerm(1, 0.0, 0.0))
            # A word of the search has one bonus; what the others of a term have is part of `extra`.
            extra = term.extra - self.config.word_bonus * (term.n_words - 1)
            weighed = extra / self.config.lm_weight if self.config.lm_weight else 0.0
            spread += [(score + weighed) / term.n_words] * term.n_words
        return (*spread, scores[-1])

    def _word_log10probs(self, word_ids: Sequence[int], state: LMState) -> tuple[float, ...]:
        scores = []
        for word_id in word_ids:
            state, score = self._lm.score(state, word_id)
            scores.append(score)
        _, score = self._lm.finish(state)
        return (*scores, score)
