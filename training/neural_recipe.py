"""What a run that trains a neural language model is to do."""

from dataclasses import dataclass

from model.neural_language_model import SPECIAL_WORDS
from training.errors import RecipeError

CUTOFFS = (1000, 6000, 15_000)  # ranks from which on words are rarer and their embeddings narrower


@dataclass(frozen=True)
class NeuralLMRecipe:
    """What is trained, and how.

    Attributes:
        width, layers, dropout, shrink: sizes of the network (`NeuralLanguageModelConfig`).
        epochs: passes over the text.
        minutes: end after so many minutes of training, wherever the passes stand; None for no such end. The learning
            rate falls to its end by whichever comes first.
        batch_words: the most words of a batch, padding counted.
        longest: longer sentences are cut.
        hold_back_every: every N-th sentence is not trained on; the perplexity is theirs.
        peak_lr, warmup_share, weight_decay, clip_norm: AdamW's; the rate rises, then falls, on straight lines.
        precision: of the LSTM, `bf16` or `fp32`; the softmax is always computed in fp32.
        checkpoint_minutes: between checkpoints, and between looks at the held-back sentences.
        seed: of weights, order and dropout.
    """

    width: int = 512
    layers: int = 1
    dropout: float = 0.1
    shrink: float = 4.0
    epochs: int = 2
    minutes: float | None = None
    batch_words: int = 3000
    longest: int = 60
    hold_back_every: int = 200
    peak_lr: float = 2e-3
    warmup_share: float = 0.02
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    precision: str = "bf16"
    checkpoint_minutes: float = 5.0
    seed: int = 1

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch_words": 1, "longest": 1, "hold_back_every": 2}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise RecipeError(f"{name} is {getattr(self, name)}; {value} is the least")
        if (self.minutes is not None and not self.minutes > 0) or not self.checkpoint_minutes >= 0:
            raise RecipeError(
                f"minutes is {self.minutes} and checkpoint_minutes {self.checkpoint_minutes}; above 0, and at least 0, "
                "are needed"
            )
        if not self.peak_lr > 0 or not self.clip_norm > 0 or not self.weight_decay >= 0:
            raise RecipeError(
                f"peak_lr is {self.peak_lr}, clip_norm {self.clip_norm}, weight_decay {self.weight_decay}; "
                "above 0, above 0, and at least 0 are needed"
            )
        if not 0 <= self.warmup_share < 1:
            raise RecipeError(f"warmup_share is {self.warmup_share}; it must lie in 0..1, 1 excluded")
        if self.precision not in ("bf16", "fp32"):
            raise RecipeError(f"precision is {self.precision!r}; bf16 and fp32 are known")


def learning_rate(share: float, recipe: NeuralLMRecipe) -> float:
    """Up on a straight line, then down to 0 on another, by the share of the run that is done."""
    warmup = recipe.warmup_share
    if share < warmup:
        return recipe.peak_lr * (share + 1e-3) / (warmup + 1e-3)
    return recipe.peak_lr * max(0.0, 1 - share) / (1 - warmup)


def fit_cutoffs(n_words: int) -> tuple[int, ...]:
    """The ranks at which rarer words begin, as far as there are so many; half of a vocabulary that has none."""
    size = n_words + len(SPECIAL_WORDS)
    return tuple(cutoff for cutoff in CUTOFFS if cutoff < size) or (size // 2,)
