"""The search that a bundle asks for."""

from typing import TYPE_CHECKING

from model.checkpoint import Bundle
from model.stretches import StretchConfig

if TYPE_CHECKING:
    from model.beam_search import BeamSearch
    from model.rescoring import Rescorer


def make_search(bundle: Bundle) -> "BeamSearch | None":
    """The search with the bundle's n-gram model, by sounds where it has pronunciations; None where it has no model."""
    if bundle.language_model is None:
        return None
    stretches = StretchConfig.of(bundle.frame_s)
    if bundle.language_model.pronunciations:
        from model.sound_search import SoundSearch  # flashlight need not be there for greedy decoding

        return SoundSearch(bundle.tokenizer, bundle.language_model, bundle.letter_to_sound, stretches=stretches)
    from model.beam_search import BeamSearch

    return BeamSearch(bundle.tokenizer, bundle.language_model, stretches=stretches)


def make_full_search(bundle: Bundle) -> "BeamSearch | Rescorer | None":
    """The same, rescored by the bundle's neural model where it has one."""
    search = make_search(bundle)
    if search is None or bundle.neural_lm is None:
        return search
    from model.rescoring import Rescorer

    return Rescorer(search, bundle.neural_lm, bundle.rescoring)
