"""`make prove-long-audio` in short: the network's part is tiny, so that ten minutes of decoding show what is kept."""

import subprocess
import sys
from pathlib import Path

from model.checkpoint import Bundle, save_bundle
from tests.model.conftest import make_bundle, tiny_bundle

__all__ = ["make_bundle", "tiny_bundle"]  # fixtures of the model's tests, used here too

ROOT = Path(__file__).resolve().parents[1]


def test_ten_minutes_take_the_memory_of_three(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The samples of the seven minutes more would be 27 MB."""
    save_bundle(tiny_bundle, tmp_path / "bundle")
    proof = [sys.executable, str(ROOT / "scripts" / "prove-long-audio"), "--bundle", str(tmp_path / "bundle")]
    limits = ["--short-s", "180", "--long-s", "600", "--most-mb", "25"]
    done = subprocess.run([*proof, *limits], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MB for 600 s instead of 180 s" in done.stdout
