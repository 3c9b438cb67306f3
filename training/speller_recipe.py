"""What is asked of a speller's training."""

from dataclasses import dataclass

from training.errors import RecipeError

ROW_S = (7.68, 15.36)  # how long a batch's rows are: one length a batch, so that little is padded


@dataclass(frozen=True)
class SpellerRecipe:
    """Sizes and schedule.

    Attributes:
        layers, size: of the speller (`model.speller`).
        steps: of the optimizer.
        batch_s: seconds of imitated or heard speech in a step, of all processes together.
        heard_share: share of the steps, 0..1, in which it learns from the corpus as it was heard instead of a text.
        letters_share: share of those, 0..1, in which it is given what was heard as characters too, as later in use.
        hours: of the corpus that are heard.
        peak_lr: highest learning rate; a warm-up over 3 % of the steps, then a cosine to 0.
        weight_decay, clip_norm, ema_decay: as in the recipes of the acoustic model.
        checkpoint_minutes: between checkpoints.
        seed: of weights, text, pieces and dropout.
    """

    layers: int = 6
    size: int = 384
    steps: int = 3000
    batch_s: float = 300.0
    heard_share: float = 0.25
    letters_share: float = 0.6
    hours: float = 20.0
    peak_lr: float = 2e-3
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    checkpoint_minutes: float = 4.0
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("layers", "size", "steps"):
            if getattr(self, name) < 1:
                raise RecipeError(f"speller {name} is {getattr(self, name)}; it must be at least 1")
        for name in ("hours", "peak_lr"):
            if not getattr(self, name) > 0:
                raise RecipeError(f"speller {name} is {getattr(self, name)}; it must be above 0")
        if not self.batch_s >= ROW_S[-1]:
            raise RecipeError(f"speller batch_s is {self.batch_s}; it must be at least {ROW_S[-1]}, which a row has")
        for name in ("heard_share", "letters_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"speller {name} is {getattr(self, name)}; it must lie in 0..1")
