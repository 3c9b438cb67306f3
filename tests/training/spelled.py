"""A corpus of sung letters with phones, for what learns to spell."""

from dataclasses import replace
from pathlib import Path

import torch

from model.acoustic_model import AcousticModel
from model.checkpoint import Bundle
from model.phones import N_PHONES
from training.objectives import ObjectiveConfig
from training.recipe import Recipe

# Every word of the sung texts. S is written C, but behind K, which is C as well, it is A: spelling needs neighbours.
DICTIONARY = """\
abc AA B S
cab K AA B
a AA
bca B S AA
b B
c S
cc S K
bab B AA B
acb AA S B
ca K AA
ab AA B
cba K B AA
bc B S
bb B P
"""


def spoken_recipe(recipe: Recipe, folder: Path) -> Recipe:
    """A recipe whose model hears phones."""
    (folder / "tones.dict").write_text(DICTIONARY)
    return replace(
        recipe,
        acoustic_model=replace(recipe.acoustic_model, n_phones=N_PHONES),
        objective=ObjectiveConfig(phone_weight=1.0, phone_dictionary=str(folder / "tones.dict")),
    )


def spoken_bundle(bundle: Bundle, recipe: Recipe) -> Bundle:
    """An untrained bundle of its sizes."""
    torch.manual_seed(3)
    return replace(bundle, acoustic_model=AcousticModel(recipe.acoustic_model).eval().requires_grad_(False))
