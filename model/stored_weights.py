"""Weights as they lie on disk: in float32, in float16, or the matrices in 8 bits with a scale for each output.

    W[o, i]  ≈  scale[o] · integers[o, i],      scale[o] = max |W[o]| / 127

The 8-bit runtime rounds by the same rule (`model.quantization`), so it computes with these very integers. Source: Jacob
et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", CVPR 2018.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from model.errors import OptionError

WeightFormat = Literal["float32", "float16", "int8"]
WEIGHT_FORMATS: tuple[WeightFormat, ...] = get_args(WeightFormat)
LARGEST = 127
_SCALE = ".scale"


def pack_weights(weights: Mapping[str, Tensor], weight_format: WeightFormat) -> dict[str, Tensor]:
    """Tensors to write, in the processor's memory; `unpack_weights` reads them.

    Args:
        weights: by name, floating point.
        weight_format: int8 has what is no matrix (convolutions, offsets, norms: a few per cent) in float16.

    Raises:
        OptionError: the format is not known, or a matrix for int8 holds what is not finite.
    """
    if weight_format not in WEIGHT_FORMATS:
        raise OptionError(f"weights are to be stored as {weight_format!r}; known are {', '.join(WEIGHT_FORMATS)}")
    packed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        weight = weight.detach().to("cpu", torch.float32)
        if weight_format == "int8" and weight.dim() == 2:
            if not weight.isfinite().all():
                raise OptionError(f"{name} holds numbers that are not finite; 8 bits cannot stand for them")
            largest_O = weight.abs().amax(1)
            scale_O = torch.where(largest_O > 0, largest_O / LARGEST, 1.0)
            packed[name] = (weight / scale_O.unsqueeze(1)).round().clamp(-LARGEST, LARGEST).to(torch.int8)
            packed[name + _SCALE] = scale_O
        else:
            packed[name] = weight if weight_format == "float32" else weight.half()
    return {name: tensor.contiguous().clone() for name, tensor in packed.items()}


def unpack_weights(stored: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], WeightFormat]:
    """The weights in float32, and how they were stored.

    Raises:
        KeyError: integers without their scales.
    """
    dtypes = {tensor.dtype for tensor in stored.values()}
    weights = {}
    for name, tensor in stored.items():
        if tensor.dtype == torch.int8:
            weights[name] = tensor.float() * stored[name + _SCALE].unsqueeze(1)
        elif not name.endswith(_SCALE):
            weights[name] = tensor.float()
    return weights, "int8" if torch.int8 in dtypes else "float16" if torch.float16 in dtypes else "float32"
