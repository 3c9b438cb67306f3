"""Which commit of the code ran."""

import subprocess
from pathlib import Path


def git_commit() -> str:
    """The commit this file belongs to, "-dirty" after it where the tree was changed; "unknown" outside a repository."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
