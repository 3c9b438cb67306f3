"""A small model as one safetensors file that says itself what it is: weights as float16, all else as JSON.

The JSON stands in the file's own metadata, under the name of the kind of model.
"""

import json
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from model.errors import OptionError


def dump_model(model: nn.Module, kind: str, record: dict[str, Any]) -> bytes:
    """The file's content; `record` has at least a `format_version`."""
    weights = {key: tensor.detach().cpu().half().contiguous() for key, tensor in model.state_dict().items()}
    return safetensors.torch.save(weights, {kind: json.dumps(record)})


def parse_model(content: bytes, kind: str, format_version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The record, and the weights in float32, of a file of that kind.

    Raises:
        OptionError: it is of another format version.
        SafetensorError, KeyError, TypeError, ValueError: it is no such file.
    """
    # A safetensors file is 8 bytes with the length of its header, the header as JSON, and the weights.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    record = json.loads(header["__metadata__"][kind])
    if record["format_version"] != format_version:
        raise OptionError(f"it has format {record['format_version']!r}; format {format_version} can be read")
    return record, {key: tensor.float() for key, tensor in safetensors.torch.load(content).items()}
