"""Where the bundle that comes with Cepstra lies; a file of its own, so that asking for it imports nothing heavy."""

from pathlib import Path

SHIPPED_BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "cepstra-base"
