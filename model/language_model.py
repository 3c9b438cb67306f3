"""The language model of a bundle: an n-gram model, the words that may be recognised, and how both are used."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import OptionError
from model.phones import Pronunciation

WIDEST_BEAM = 100_000
LEAST_WEIGHT = 1e-6  # what is added to a score is divided by the weight, where it stands in for a log10 probability


@dataclass(frozen=True)
class BeamSearchConfig:
    """How the search weighs and what it keeps.

    Attributes:
        lm_weight: of the language model's log10 probability; 0, or at least 1e-6.
        word_bonus: added for every word; without it the search prefers few, long words.
        blank_penalty: taken from the blank's log-probability at every frame, in nats. A network that was trained on
            little hears too little: it leaves out letters more often than it adds any.
        beam_size: beginnings kept at every frame.
        beam_units: best units of a frame by which a beginning is continued.
        beam_threshold: beginnings worse than the best by more than this are dropped.
        letter_weight: share that the letters have in what is heard, 0..1, where words are searched by their sounds
            (`model.sound_search`).
        boundary_penalty: like `blank_penalty`, taken from the log-probability of the boundary between words.
    """

    lm_weight: float = 1.5
    word_bonus: float = 1.0
    blank_penalty: float = 0.0
    beam_size: int = 50
    beam_units: int = 12
    beam_threshold: float = 25.0
    letter_weight: float = 0.0
    boundary_penalty: float = 0.0

    def __post_init__(self) -> None:
        sizes_fit = 1 <= self.beam_size <= WIDEST_BEAM and 1 <= self.beam_units <= WIDEST_BEAM
        if not sizes_fit or not self.beam_threshold > 0:
            raise OptionError(
                f"beam_size is {self.beam_size}, beam_units {self.beam_units}, beam_threshold {self.beam_threshold}; "
                f"1 to {WIDEST_BEAM}, the same, and above 0 are possible"
            )
        for name in ("word_bonus", "blank_penalty", "boundary_penalty"):
            if not math.isfinite(getattr(self, name)):
                raise OptionError(f"{name} is {getattr(self, name)}; it has to be finite")
        if not 0 <= self.letter_weight <= 1:
            raise OptionError(f"letter_weight is {self.letter_weight}; it must lie in 0..1")
        if not (self.lm_weight == 0 or LEAST_WEIGHT <= self.lm_weight < float("inf")):
            raise OptionError(f"lm_weight is {self.lm_weight}; it must be 0, or {LEAST_WEIGHT:g} and more")


@dataclass(frozen=True)
class RescoringConfig:
    """How much a neural language model says about what the search has found.

    Attributes:
        neural_weight: its share of the mixed probability, 0..1; with 0 the search's order stays as it is.
        n_best: hypotheses of a stretch that it looks at.
    """

    neural_weight: float = 0.5
    n_best: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.neural_weight <= 1 or self.n_best < 1:
            raise OptionError(
                f"neural_weight is {self.neural_weight} and n_best {self.n_best}; 0..1 and at least 1 are needed"
            )


@dataclass(frozen=True)
class LanguageModel:
    """An n-gram model and the words that may be recognised.

    Attributes:
        path: the model, a file that KenLM reads (ARPA or binary).
        words: the lexicon, spelled as in the model; recognised in lower case.
        search: weights and widths that suit this model.
        pronunciations: of the words, in lower case, where they are searched by their sounds; words that have none are
            then not recognised. Empty for a search by letters.
    """

    path: Path
    words: tuple[str, ...]
    search: BeamSearchConfig
    pronunciations: Mapping[str, Sequence[Pronunciation]] = field(default_factory=dict)
