"""The short form of `make prove-soak`: mixed load on a server process, every answer as it should be, no leak."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOAK_S = os.environ.get("CEPSTRA_SOAK_S", "6")


def test_mixed_load_leaves_memory_as_it_was() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/prove-soak", "--threads", "1"],
        cwd=ROOT,
        env={**os.environ, "CEPSTRA_SOAK_S": SOAK_S},
        capture_output=True,
        text=True,
        timeout=280 + float(SOAK_S),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "× clip" in done.stdout
    assert "unexpected" not in done.stdout
