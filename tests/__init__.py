"""The tests. Importing this package makes `features` and `model` check their annotations at every call, shapes too.

Every test and conftest lies in this package, so it is imported before any of them imports ours.
"""

import io
from typing import BinaryIO

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import install_import_hook

# What mypy accepts passes here too: integers for floats, and BytesIO, which lacks BinaryIO's `mode`, for a file.
check_types = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({BinaryIO: io.IOBase})))
install_import_hook(["features", "model"], "tests.check_types")
