"""Every runtime says what torch says, within its bound, alone and in a batch; `auto` takes none that costs words."""

import importlib.metadata
import re
from collections.abc import Mapping
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor

import model.runtime
from features.audio import decode_audio
from model.acoustic_model import AcousticModel, AcousticModelConfig
from model.cancellation import CancelToken
from model.checkpoint import Bundle
from model.errors import OptionError
from model.runtime import allowed_runtimes, choose, installed_runtimes, make_runtime
from model.runtime_names import RUNTIMES, RuntimeName
from model.transcriber import Transcriber
from tests.conftest import SpokenClip
from tests.model.conftest import BundleMaker

# Largest difference of a probability (not of its logarithm, which has no bound near zero) on the synthetic clips.
ROUNDED: tuple[RuntimeName, ...] = ("torch-bf16", "onnx-int8")
MOVED_MASS = 0.02  # of a frame's probability, in the mean; the largest single change grows as a network becomes surer
CHANGED_CHARACTERS = 0.02


@pytest.fixture(autouse=True)
def forget_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.runtime, "_chosen", {})


def test_onnx_is_installed_for_the_tests() -> None:
    assert installed_runtimes() == RUNTIMES


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"utterance_mean": False},
        {"subsampling": 2, "layer_norm": False},
        {"subsampling": 8},
        {"n_phones": 41},
        {"n_phones": 41, "spelling_layers": 3, "spelling_size": 16},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_onnx_equals_torch_on_random_lengths(make_bundle: BundleMaker, seed: int, options: dict[str, Any]) -> None:
    acoustic_model = make_bundle(seed, **options).acoustic_model
    onnx, torch_ = make_runtime(acoustic_model, "onnx"), make_runtime(acoustic_model, "torch")
    generator = torch.Generator().manual_seed(seed)
    for _ in range(6):
        features_BTF, lengths_B = random_batch(generator)
        actual_BSV, actual_lengths_B = onnx(features_BTF, lengths_B)
        expected_BSV, expected_lengths_B = torch_(features_BTF, lengths_B)
        assert actual_BSV.shape == expected_BSV.shape and actual_BSV.dtype == torch.float32
        torch.testing.assert_close(actual_lengths_B, expected_lengths_B)
        for row, length in enumerate(expected_lengths_B.tolist()):
            torch.testing.assert_close(actual_BSV[row, :length], expected_BSV[row, :length], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["torch", "torch-bf16", "onnx"])
def test_a_row_has_the_same_log_probs_alone_and_in_a_batch(tiny_bundle: Bundle, name: RuntimeName) -> None:
    """Not so in 8 bits, where a batch shares one scale for its activations."""
    runtime = make_runtime(tiny_bundle.acoustic_model, name)
    features_BTF, lengths_B = random_batch(torch.Generator().manual_seed(7), n_rows=5)
    together_BSV, together_lengths_B = runtime(features_BTF, lengths_B)
    bound = 0.05 if name == "torch-bf16" else 1e-4  # oneDNN adds in another order for another batch
    for row, (length, output_length) in enumerate(zip(lengths_B.tolist(), together_lengths_B.tolist(), strict=True)):
        alone_BSV, _ = runtime(features_BTF[row : row + 1, :length], lengths_B[row : row + 1])
        difference = together_BSV[row, :output_length].exp() - alone_BSV[0, :output_length].exp()
        assert difference.abs().max() <= bound


def test_what_stands_beyond_a_length_is_ignored(tiny_bundle: Bundle) -> None:
    features_BTF, lengths_B = torch.randn(2, 50, 80), torch.tensor([50, 21])
    for name in ("torch", "onnx"):
        runtime = make_runtime(tiny_bundle.acoustic_model, name)
        expected_BSV, _ = runtime(features_BTF, lengths_B)
        spoiled_BTF = features_BTF.clone()
        spoiled_BTF[1, 21:] = float("inf")
        actual_BSV, _ = runtime(spoiled_BTF, lengths_B)
        torch.testing.assert_close(actual_BSV[1, :6], expected_BSV[1, :6], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_runtimes_stay_close(
    shipped_bundle: Bundle, synthetic_clips: list[SpokenClip], name: RuntimeName
) -> None:
    exact = Transcriber(shipped_bundle, greedy=True)
    rounded = Transcriber(shipped_bundle, greedy=True, runtime=make_runtime(shipped_bundle.acoustic_model, name))
    moved, changed, characters = [], 0, 0
    for clip in synthetic_clips:
        waveform = decode_audio(clip.path)
        difference_SV: Tensor = exact.log_probs(waveform).exp() - rounded.log_probs(waveform).exp()
        moved.append(difference_SV.abs().sum(-1) / 2)
        expected = exact.transcribe(waveform).text
        changed += edits(rounded.transcribe(waveform).text, expected)
        characters += len(expected)
    assert 0 < torch.cat(moved).mean() <= MOVED_MASS
    assert changed <= CHANGED_CHARACTERS * characters  # what it costs in words is measured and bounded by the record


def test_without_a_record_only_exact_runtimes_are_allowed() -> None:
    assert allowed_runtimes({}) == ("torch", "onnx")


@pytest.mark.parametrize(
    ("record", "allowed"),
    [
        ({"torch": 0.30, "torch-bf16": 0.303, "onnx-int8": 0.3031}, ("torch", "torch-bf16", "onnx")),
        ({"torch": 0.30, "torch-bf16": 0.29, "onnx-int8": 0.301}, RUNTIMES),
        ({"torch-bf16": 0.0}, ("torch", "onnx")),
        ({"torch": 0.3, "onnx-int8": None}, ("torch", "onnx")),
        ({"torch": 0.3, "onnx-int8": "0.1"}, ("torch", "onnx")),
        ({"torch": 0.3, "onnx-int8": True}, ("torch", "onnx")),
        ({"torch": 0.3, "onnx-int8": float("nan")}, ("torch", "onnx")),
    ],
)
def test_the_record_allows_a_loss_of_0_3_points(record: dict[str, Any], allowed: tuple[str, ...]) -> None:
    assert allowed_runtimes({"runtimes": {name: {"wer": rate} for name, rate in record.items()}}) == allowed


@pytest.mark.parametrize("record", [None, 1, [], {"torch": 0.1, "onnx-int8": 0.1}])
def test_a_record_of_another_form_allows_nothing(record: object) -> None:
    assert allowed_runtimes({"runtimes": record}) == ("torch", "onnx")


def test_auto_takes_the_fastest_once(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"torch": 3.0, "torch-bf16": 2.0, "onnx": 4.0, "onnx-int8": 1.0}
    measured: list[str] = []

    def measure(runtimes: Mapping[RuntimeName, model.runtime.Runtime], _: AcousticModel) -> dict[RuntimeName, float]:
        measured.extend(runtimes)
        return {name: seconds[name] for name in runtimes}

    monkeypatch.setattr(model.runtime, "_measure", measure)
    acoustic_model = tiny_bundle.acoustic_model
    assert make_runtime(acoustic_model, "auto").name == "torch"
    assert make_runtime(acoustic_model, "auto").name == "torch"
    assert measured == ["torch", "onnx"]
    record = {"runtimes": {name: {"wer": 0.5} for name in RUNTIMES}}
    assert make_runtime(acoustic_model, "auto", training=record).name == "onnx-int8"


class Notes(dict[str, str]):
    """A memory."""

    def recall(self, key: str) -> str | None:
        return self.get(key)

    def remember(self, key: str, name: str) -> None:
        self[key] = name


def test_what_was_measured_is_remembered_from_one_process_to_the_next(
    make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure(runtimes: Mapping[RuntimeName, model.runtime.Runtime], _: AcousticModel) -> dict[RuntimeName, float]:
        measured.extend(runtimes)
        return {name: {"torch": 2.0, "onnx": 1.0}[name] for name in runtimes}

    def in_a_new_process(threads: int = 1, **sizes: int) -> str:
        monkeypatch.setattr(model.runtime, "_chosen", {})
        acoustic_model = make_bundle(**sizes).acoustic_model
        return make_runtime(acoustic_model, "auto", threads=threads, memory=notes).name

    monkeypatch.setattr(model.runtime, "_measure", measure)
    notes = Notes()
    assert in_a_new_process() == "onnx"
    assert measured == ["torch", "onnx"]
    notes.update(dict.fromkeys(notes, "torch"))  # so that it can be seen where the answer comes from
    assert in_a_new_process() == "torch"
    assert measured == ["torch", "onnx"]

    for other in ({"threads": 2}, {"hidden_size": 8}):
        assert in_a_new_process(**other) == "onnx"
    monkeypatch.setattr(model.runtime, "_processor", lambda: "another processor")
    assert in_a_new_process() == "onnx"
    assert len(notes) == 4
    assert len(measured) == 2 * 4


def test_a_library_may_have_been_installed_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_version(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.version", no_version)
    assert "onnxruntime of unknown version" in model.runtime._circumstances(AcousticModelConfig(), ("torch", "onnx"), 1)


@pytest.mark.parametrize("told", ["onnx-int8", "cuda", ""])
def test_what_may_not_be_taken_is_not_taken_because_it_is_remembered(
    make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setattr(model.runtime, "_chosen", {})
    notes = MagicMock()
    notes.recall.return_value = told
    assert make_runtime(make_bundle().acoustic_model, "auto", memory=notes).name in ("torch", "onnx")
    notes.remember.assert_called_once()


def test_a_moment_in_which_the_machine_is_busy_falls_on_all(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now_s)

    def runtime(name: RuntimeName, took_s: float) -> model.runtime.Runtime:
        def call(features_BTF: Tensor, lengths_B: Tensor, cancelled: CancelToken | None = None) -> None:
            nonlocal now_s
            now_s += took_s * (10 if 0.1 < now_s < 1.0 else 1)

        made = MagicMock(side_effect=call)
        made.name = name
        return made

    both: dict[RuntimeName, model.runtime.Runtime] = {"torch": runtime("torch", 0.06), "onnx": runtime("onnx", 0.04)}
    found = model.runtime._measure(both, tiny_bundle.acoustic_model)
    assert now_s > 1.0
    assert found == pytest.approx({"torch": 0.06, "onnx": 0.04})


def test_the_measurement_measures(tiny_bundle: Bundle) -> None:
    assert choose(tiny_bundle.acoustic_model, RUNTIMES) in RUNTIMES


def test_a_runtime_that_is_not_there_is_named(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert make_runtime(tiny_bundle.acoustic_model, "auto").name == "torch"
    with pytest.raises(OptionError, match=re.escape("not installed here: pip install 'cepstra[onnx]'")):
        make_runtime(tiny_bundle.acoustic_model, "onnx")


def edits(one: str, other: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        above, row = row, [at]
        for index, partner in enumerate(other):
            row.append(min(above[index] + (letter != partner), above[index + 1] + 1, row[index] + 1))
    return row[-1]


def random_batch(generator: torch.Generator, n_rows: int | None = None) -> tuple[Tensor, Tensor]:
    """Features of 1 to 5 rows and 1 to 120 frames, one row as long as the batch."""
    if n_rows is None:
        n_rows = int(torch.randint(1, 6, (), generator=generator))
    lengths_B = torch.randint(1, 121, (n_rows,), generator=generator)
    features_BTF = torch.randn(n_rows, int(lengths_B.max()), 80, generator=generator)
    return features_BTF, lengths_B
