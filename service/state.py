"""Where the service keeps what outlives it; a file of its own, so that asking for it imports nothing heavy."""

import os
from pathlib import Path

# Unlike Path.home(), expanduser does not raise for a user without a home; what cannot be written is told when written.
STATE_DIR = Path(os.path.expanduser("~/.local/state/cepstra"))
