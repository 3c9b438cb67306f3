"""The language model of a bundle: an n-gram model, the words that may be recognised, and how to search with them."""

from dataclasses import dataclass
from pathlib import Path

from model.errors import OptionError


@dataclass(frozen=True)
class BeamSearchConfig:
    """How the search weighs and what it keeps.

    Attributes:
        lm_weight: of the language model's log10 probability.
        word_bonus: added for every word; without it the search prefers few, long words.
        beam_size: beginnings kept at every frame.
        beam_units: best units of a frame by which a beginning is continued.
        beam_threshold: beginnings worse than the best by more than this are dropped.
    """

    lm_weight: float = 1.5
    word_bonus: float = 1.0
    beam_size: int = 50
    beam_units: int = 12
    beam_threshold: float = 25.0

    def __post_init__(self) -> None:
        if self.beam_size < 1 or self.beam_units < 1 or not self.beam_threshold > 0:
            raise OptionError(
                f"beam_size is {self.beam_size}, beam_units {self.beam_units}, beam_threshold {self.beam_threshold}; "
                "at least 1, 1 and above 0 are needed"
            )


@dataclass(frozen=True)
class LanguageModel:
    """An n-gram model and the words that may be recognised.

    Attributes:
        path: the model, a file that KenLM reads (ARPA or binary).
        words: the lexicon, spelled as in the model; recognised in lower case.
        search: weights and widths that suit this model.
    """

    path: Path
    words: tuple[str, ...]
    search: BeamSearchConfig
