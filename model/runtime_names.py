"""The names of the runtimes; a file of its own, so that command line and settings can list them without torch."""

from typing import Literal, get_args

RuntimeName = Literal["torch", "torch-bf16", "onnx", "onnx-int8"]
RuntimeChoice = Literal["auto", "torch", "torch-bf16", "onnx", "onnx-int8"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
