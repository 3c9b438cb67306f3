"""The tests. Importing this package makes `features` and `model` check their annotations at every call, shapes too.

Every test and conftest lies in this package, so it is imported before any of them imports ours.
"""

import io
from collections.abc import Callable
from typing import Any, BinaryIO

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import install_import_hook

# What mypy accepts passes here too: integers for floats, and BytesIO, which lacks BinaryIO's `mode`, for a file.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({BinaryIO: io.IOBase})))


def check_types(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function in checks; constructors are left alone: options verify themselves, and tests have to see that."""
    return function if function.__name__ == "__init__" else _check(function)


install_import_hook(["features", "model"], "tests.check_types")
