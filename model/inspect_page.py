"""An `Inspection` as a page: one file, which needs no network and no server.

Every number is shown in 255 steps between the ends of its scale; `Inspection.arrays` has them as they are.
"""

import base64
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from model.inspect import DIRECTIONS, QUANTITIES, Inspection

TEMPLATE = Path(__file__).with_name("inspect_page.html")
STEPS, NOT_ASKED = 254, 255
FEATURES_REACH = 3.0  # standard deviations either way
LARGEST_CELL = 5.0  # beyond which a cell shows all it has: its tanh is 0.9999


def inspection_page(inspection: Inspection, name: str) -> str:
    """The page as HTML.

    Args:
        inspection: what is shown.
        name: of the audio.
    """
    transcript, config = inspection.transcript, inspection
    features = _map(
        "features, in standard deviations", config.features_TF, config.hop_s, -FEATURES_REACH, FEATURES_REACH
    )
    heads = [
        _map(f"probability of {head.name}", np.exp(head.log_probs_SU), config.frame_s, 0.0, 1.0) | {"names": head.units}
        for head in inspection.heads
    ]
    content = {
        "name": name,
        "model": inspection.model,
        "text": transcript.text,
        "begin_s": inspection.begin_s,
        "duration_s": transcript.duration_s,
        "wav": _text(_wav(inspection)),
        "words": [asdict(word) for word in transcript.words],
        "maps": [*heads[::-1], features | {"row_name": "bin", "bottom_up": True}],
        "gates": _gates(inspection),
    }
    # What ends a script element, or begins a comment in one, cannot come about without this character.
    return TEMPLATE.read_text("utf-8").replace("{{DATA}}", json.dumps(content).replace("<", "\\u003c"))


def _gates(inspection: Inspection) -> dict[str, Any]:
    gates_LDQSH = inspection.gates_LDQSH
    scales = dict.fromkeys(QUANTITIES, (-1.0, 1.0)) | {name: (0.0, 1.0) for name in QUANTITIES if "gate" in name}
    scales["cell"] = (-LARGEST_CELL, LARGEST_CELL)
    return {
        "row_name": "unit",
        "digits": 2,
        "step_s": inspection.frame_s,
        "columns": gates_LDQSH.shape[3],
        "rows": gates_LDQSH.shape[4],
        "directions": DIRECTIONS,
        "quantities": [
            {"name": name, "low": low, "high": high, "palette": _palette(low)} for name, (low, high) in scales.items()
        ],
        "steps": [
            [
                [_steps(values_SH, *scales[name]) for name, values_SH in zip(QUANTITIES, direction, strict=True)]
                for direction in layer
            ]
            for layer in gates_LDQSH
        ],
    }


def _map(title: str, values_SR: np.ndarray, step_s: float, low: float, high: float) -> dict[str, Any]:
    """Columns in order of time, each with its rows."""
    return {
        "title": title,
        "columns": values_SR.shape[0],
        "rows": values_SR.shape[1],
        "step_s": step_s,
        "low": low,
        "high": high,
        "digits": 2,
        "palette": _palette(low),
        "steps": _steps(values_SR, low, high),
    }


def _palette(low: float) -> str:
    return "around_zero" if low < 0 else "from_zero"


def _steps(values: np.ndarray, low: float, high: float) -> str:
    steps = np.rint((np.clip(values, low, high) - low) / (high - low) * STEPS)
    return _text(np.where(np.isnan(steps), NOT_ASKED, steps).astype(np.uint8).tobytes())


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _wav(inspection: Inspection) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, inspection.samples_N, inspection.sample_rate_hz, subtype="PCM_16", format="WAV")
    return file.getvalue()
