"""Import torchaudio beside a CPU-only torch.

torchaudio's wheel on PyPI links the CUDA libraries, so that beside a CPU build of torch `import torchaudio` ends in an
OSError from `torchaudio._extension`. What Cepstra needs of it (transforms, functional, the CTC decoder) is pure Python
and never touches that extension. So where the real import fails for that reason, and only there, a stub that says "no
extension here" takes the place of `torchaudio._extension`, and the import is tried once more.
"""

import importlib
import sys
from types import ModuleType
from typing import Any


def import_torchaudio(submodule: str = "") -> ModuleType:
    """Return `torchaudio`, or `torchaudio.<submodule>`, on machines with and without CUDA.

    Args:
        submodule: dotted name below `torchaudio`, for example `"functional"`; empty for the package itself.

    Raises:
        ImportError: torchaudio is not installed.
        OSError: its native libraries fail to load for a reason other than the missing CUDA extension.
    """
    name = f"torchaudio.{submodule}" if submodule else "torchaudio"
    try:
        return importlib.import_module(name)
    except (
        OSError,
        AttributeError,
    ):  # AttributeError: torchaudio half initialised by an earlier failed import
        if "torchaudio._extension" in sys.modules:
            raise
    for half_loaded in [key for key in sys.modules if key.split(".")[0] == "torchaudio"]:
        del sys.modules[half_loaded]
    sys.modules["torchaudio._extension"] = _extension_stub()
    return importlib.import_module(name)


def _extension_stub() -> ModuleType:
    """A module with the names that torchaudio imports from `torchaudio._extension`."""

    def fail_if_no_align(function: Any) -> Any:
        return function

    stub = ModuleType("torchaudio._extension", doc="Stand-in: torchaudio's compiled extension is not available.")
    stub.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=fail_if_no_align,
    )
    return stub
