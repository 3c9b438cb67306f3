"""Two models of one ancestry in one: the mean of their weights.

A network that was trained on from another lies in the same valley of the loss; halfway between both it is often better
than either. Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
"""

from dataclasses import replace

import torch

from model.acoustic_model import AcousticModel, AcousticModelConfig
from model.checkpoint import Bundle
from model.errors import OptionError

# What was measured on one of the two, and is not true of the mean.
MEASURED = ("dev_wer", "dev_cer", "dev_clean", "runtimes")


def average_bundles(bundle: Bundle, other: Bundle, share: float) -> Bundle:
    """`share` of the first one's weights, the rest of the other's.

    Everything but the weights is the first one's: language model, search, name. A head for phones or a speller that
    only it has stays as it is. What is fitted to the weights, the rejection of other sounds and the confidence of
    words, is left out: fit it anew (`cepstra tune-rejection`, `cepstra calibrate`).

    Args:
        bundle: the first one.
        other: of the same front end, units and network but for the head for phones and the speller.
        share: 0..1.

    Raises:
        OptionError: the share is outside 0..1, or neither can have been trained on from the other.
    """
    if not 0 <= share <= 1:
        raise OptionError(f"the share is {share:g}; it must lie in 0..1")
    mine, theirs = bundle.acoustic_model.config, other.acoustic_model.config
    for what, one, another in (
        ("front ends", bundle.front_end.config, other.front_end.config),
        ("units", bundle.tokenizer, other.tokenizer),
        ("networks", _layers_of(mine), _layers_of(theirs)),
    ):
        if one != another:
            raise OptionError(f"{bundle.name!r} and {other.name!r} have different {what}: {one} and {another}")
    if mine.spelling_layers and theirs.spelling_layers and _speller_of(mine) != _speller_of(theirs):
        raise OptionError(
            f"{bundle.name!r} spells with {mine.spelling_layers} layers of {mine.spelling_size} and {other.name!r} "
            f"with {theirs.spelling_layers} of {theirs.spelling_size}"
        )
    if mine.n_phones and theirs.n_phones not in (0, mine.n_phones):
        raise OptionError(f"{bundle.name!r} has {mine.n_phones} phones and {other.name!r} {theirs.n_phones}")
    if not all(map(torch.equal, bundle.cmvn.buffers(), other.cmvn.buffers())):
        raise OptionError(f"{bundle.name!r} and {other.name!r} normalise differently: none was begun from the other")
    weights, others = bundle.acoustic_model.state_dict(), other.acoustic_model.state_dict()
    mixed = {
        name: share * weight + (1 - share) * others[name] if name in others else weight
        for name, weight in weights.items()
    }
    averaged = AcousticModel(mine)
    averaged.load_state_dict(mixed)
    averaged.eval().requires_grad_(False)
    record = {key: value for key, value in bundle.training.items() if key not in MEASURED}
    record["averaged"] = {
        "share": share,
        "with": {"name": other.name, "created_at": other.created_at, "training": other.training},
    }
    return replace(bundle, acoustic_model=averaged, training=record, rejection=None, confidence=None)


def _layers_of(config: AcousticModelConfig) -> AcousticModelConfig:
    """What both must have alike: a head for phones and a speller may have come later, dropout is for training."""
    return replace(config, n_phones=0, spelling_layers=0, spelling_size=1, dropout=0.0)


def _speller_of(config: AcousticModelConfig) -> tuple[int, int]:
    return config.spelling_layers, config.spelling_size
