"""How a letter-to-sound model is to be trained."""

from dataclasses import dataclass

from training.errors import RecipeError


@dataclass(frozen=True)
class LetterToSoundRecipe:
    """What is done in training.

    Attributes:
        epochs: passes over the dictionary.
        minutes: end after so many minutes of training, wherever the passes stand; None for no such end. The learning
            rate falls to its end by whichever comes first, so that only runs without it can be repeated exactly.
        held_out: share of the words that are not trained on, 0..1, both excluded; the error rates are theirs.
        batch_words: words of a batch.
        peak_lr, warmup_share, weight_decay, clip_norm: AdamW's; the rate rises, then falls, on straight lines.
        precision: of the BiLSTM, `bf16` or `fp32`; the loss is always computed in fp32.
        checkpoint_minutes: between the looks at the held-out words, at each of which the model is written.
        seed: of the choice of held-out words, of weights, order and dropout.
    """

    epochs: int = 12
    minutes: float | None = None
    held_out: float = 0.02
    batch_words: int = 128
    peak_lr: float = 3e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    precision: str = "bf16"
    checkpoint_minutes: float = 3.0
    seed: int = 1

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_words) < 1:
            raise RecipeError(f"epochs is {self.epochs} and batch_words {self.batch_words}; 1 is the least of each")
        if not 0 < self.held_out < 1:
            raise RecipeError(f"held_out is {self.held_out}; it must lie in 0..1, both excluded")
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
        if not 0 < self.warmup_share < 1:
            raise RecipeError(f"warmup_share is {self.warmup_share}; it must lie in 0..1, both excluded")
        if self.precision not in ("bf16", "fp32"):
            raise RecipeError(f"precision is {self.precision!r}; bf16 and fp32 are known")


def learning_rate(share: float, recipe: LetterToSoundRecipe) -> float:
    """Up on a straight line, then down to 0 on another, by the share of the run that is done."""
    rising = (share + 1e-3) / (recipe.warmup_share + 1e-3)
    falling = max(0.0, 1 - share) / (1 - recipe.warmup_share)
    return recipe.peak_lr * min(rising, falling)
