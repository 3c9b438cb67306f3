"""The tests. Importing this package makes `features` and `model` check their annotations at every call, shapes too.

Every test and conftest lies in this package, so it is imported before any of them imports ours. Integers pass for
floats, as they do for mypy.
"""

from jaxtyping import install_import_hook

install_import_hook(["features", "model"], "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
