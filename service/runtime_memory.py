"""Which runtime `auto` took, remembered under CEPSTRA_STATE_DIR: the next start is sooner, and hears the same words.

`model.runtime` measures which is the fastest. Where two are about as fast, the measurement may end one way or the
other, and they round differently.
"""

import json
import logging
from pathlib import Path

from service.state import locked, replace_file

FILE = "runtimes.json"
LOCK_FILE = "runtimes.lock"
MOST_REMEMBERED = 50

logger = logging.getLogger("cepstra.service")


class RuntimeMemory:
    """`runtimes.json` in a state directory: circumstances → runtime. A `model.runtime.ChoiceMemory`.

    It spares work and nothing else depends on it: what cannot be read is not there, what cannot be written is told in
    the log. Whoever removes the file has everything measured anew.

    Args:
        state_dir: the directory, which is made where it is missing.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def recall(self, key: str) -> str | None:
        """What was remembered under that key."""
        return self._read().get(key)

    def remember(self, key: str, name: str) -> None:
        """Remember it, and of all others the latest."""
        try:
            with locked(self._path.with_name(LOCK_FILE)):
                others = [(other, chosen) for other, chosen in self._read().items() if other != key]
                kept = dict([*others[1 - MOST_REMEMBERED :], (key, name)])
                replace_file(self._path, json.dumps(kept, indent=2).encode() + b"\n")
        except OSError as error:
            logger.info("which runtime is the fastest here will be measured again: %s", error)

    def _read(self) -> dict[str, str]:
        try:
            contents = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        told = contents.items() if isinstance(contents, dict) else ()
        return {key: name for key, name in told if isinstance(name, str)}
