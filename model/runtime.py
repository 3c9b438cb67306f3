"""What computes the acoustic model: PyTorch or ONNX Runtime, each in full precision or in a faster, rounded one.

Shape legend: B batch, T feature frames, S output frames, F feature bins, V vocabulary.

    torch        float32, the reference
    torch-bf16   matrix products in bfloat16; log-softmax and what lies between layers in float32
    onnx         float32 (`model.export`); equal to torch to 1e-4
    onnx-int8    weights of LSTM and linear layers in 8 bits, activations quantised while it runs

`auto` takes the fastest on this machine (`choose`) of those that may be used: the exact ones always; a rounded one only
where its word error rate was measured on the very bundle (`cepstra evaluate --runtime all --record`) and is at most 0.3
points worse than torch's. No bound on log-probs stands in for that measurement, because how much rounding costs in
words depends on how sure the model is.
"""

import importlib.metadata
import importlib.util
import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.acoustic_model import AcousticModel, AcousticModelConfig
from model.cancellation import CancelToken
from model.errors import OptionError
from model.runtime_names import RUNTIMES, RuntimeChoice, RuntimeName

EXACT: tuple[RuntimeName, ...] = ("torch", "onnx")
RECORD = "runtimes"  # key of the training record: runtime → what was measured with it
MOST_WER_LOSS = 0.003  # 0.3 points

_MEASURED_FRAMES = 300  # 3 s: short enough to load quickly, long enough that the layers count and not the call
_MEASURED_CALLS = 3


@runtime_checkable  # the shape checks of the tests ask
class Runtime(Protocol):
    """Computes the acoustic model; safe to call from several threads."""

    @property
    def name(self) -> RuntimeName:
        """Which one it is."""

    def __call__(
        self,
        features_BTF: Float[Tensor, "B T F"],
        lengths_B: Int[Tensor, " B"],
        cancelled: CancelToken | None = None,
    ) -> tuple[Float[Tensor, "B S V"], Int[Tensor, " B"]]:
        """Log-probabilities and their lengths; arguments, results and errors as in `AcousticModel.forward`."""


@runtime_checkable
class ChoiceMemory(Protocol):
    """Remembers what `auto` has chosen, from one process to the next."""

    def recall(self, key: str) -> str | None:
        """What was remembered under that key; None where nothing was, or where it cannot be read."""

    def remember(self, key: str, name: str) -> None:
        """Remember it, where that is possible."""


class TorchRuntime:
    """The module itself, in float32 or under bfloat16 autocast."""

    def __init__(self, model: AcousticModel, *, bf16: bool = False) -> None:
        self.name: RuntimeName = "torch-bf16" if bf16 else "torch"
        self._model = model
        self._bf16 = bf16

    @torch.inference_mode()
    def __call__(
        self,
        features_BTF: Float[Tensor, "B T F"],
        lengths_B: Int[Tensor, " B"],
        cancelled: CancelToken | None = None,
    ) -> tuple[Float[Tensor, "B S V"], Int[Tensor, " B"]]:
        """See `Runtime`."""
        with torch.autocast(features_BTF.device.type, torch.bfloat16, enabled=self._bf16):
            log_probs_BSV, lengths_B = self._model(features_BTF, lengths_B, cancelled)
        return log_probs_BSV, lengths_B


class OnnxRuntime:
    """ONNX Runtime on the processor, with a graph made of the module's weights as they are now.

    Args:
        model: the acoustic model.
        int8: with 8-bit weights.
        threads: processor threads of one call; None for as many as torch uses.
    """

    def __init__(self, model: AcousticModel, *, int8: bool = False, threads: int | None = None) -> None:
        import onnxruntime

        from model.export import export_onnx
        from model.quantization import quantize_onnx

        self.name: RuntimeName = "onnx-int8" if int8 else "onnx"
        self._run_options: Callable[[], Any] = onnxruntime.RunOptions
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3  # errors
        # Its threads wait for work by spinning; between calls the search wants the processor.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        exported = export_onnx(model)
        content = (quantize_onnx(exported) if int8 else exported).SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(
        self,
        features_BTF: Float[Tensor, "B T F"],
        lengths_B: Int[Tensor, " B"],
        cancelled: CancelToken | None = None,
    ) -> tuple[Float[Tensor, "B S V"], Int[Tensor, " B"]]:
        """See `Runtime`."""
        inputs = {"features": features_BTF.numpy(), "lengths": lengths_B.to(torch.int64).numpy()}
        if cancelled is None:
            log_probs_BSV, output_lengths_B = self._session.run(None, inputs)
        else:
            log_probs_BSV, output_lengths_B = self._stoppable(inputs, cancelled)
        return torch.from_numpy(log_probs_BSV), torch.from_numpy(output_lengths_B)

    def _stoppable(self, inputs: dict[str, Any], cancelled: CancelToken) -> Any:
        """The session's outputs; it looks at its options' flag between the nodes of the graph, a layer each."""
        options = self._run_options()

        def stop() -> None:
            options.terminate = True

        with cancelled.calling(stop):
            try:
                return self._session.run(None, inputs, options)
            except Exception:
                cancelled.check()  # what stopped it is not its own error
                raise


def make_runtime(
    model: AcousticModel,
    choice: RuntimeChoice = "auto",
    *,
    training: Mapping[str, Any] | None = None,
    threads: int | None = None,
    memory: ChoiceMemory | None = None,
) -> Runtime:
    """The runtime of that name, or the fastest one that may be used.

    Args:
        model: the acoustic model, in evaluation mode.
        choice: a name, or `"auto"`.
        training: the bundle's training record, which says what rounding costs in words; only `"auto"` reads it.
        threads: processor threads of one call; None for as many as torch uses.
        memory: what was measured before on such a processor is not measured again, which takes most of a second, and
            the same audio has the same words after a restart.

    Raises:
        OptionError: it is not installed.
    """
    if choice == "auto":
        choice, made = _choose(model, allowed_runtimes(training or {}), threads, memory)
        if made is not None:
            return made
    if choice not in installed_runtimes():
        raise OptionError(f"runtime is {choice!r}, and ONNX is not installed here: pip install 'cepstra[onnx]'")
    if choice in ("torch", "torch-bf16"):
        return TorchRuntime(model, bf16=choice == "torch-bf16")
    return OnnxRuntime(model, int8=choice == "onnx-int8", threads=threads)


def installed_runtimes() -> tuple[RuntimeName, ...]:
    """The runtimes that can be made here: torch's, and ONNX's where the extra `onnx` is installed."""
    has_onnx = all(importlib.util.find_spec(package) for package in ("onnx", "onnxruntime"))
    return tuple(name for name in RUNTIMES if has_onnx or name.startswith("torch"))


def allowed_runtimes(training: Mapping[str, Any]) -> tuple[RuntimeName, ...]:
    """Of the installed ones, those that `auto` may take, by what a bundle's training record says about them.

    The record holds `{"runtimes": {name: {"wer": fraction, …}, …}}`, all of one corpus. What is missing, or is no
    number, allows nothing.
    """
    record = training.get(RECORD)
    rates = {name: _recorded_wer(record, name) for name in RUNTIMES}
    reference = rates["torch"]

    def may(name: RuntimeName) -> bool:
        rate = rates[name]
        if name in EXACT:
            return True
        return reference is not None and rate is not None and round(rate - reference, 6) <= MOST_WER_LOSS

    return tuple(name for name in installed_runtimes() if may(name))


def choose(model: AcousticModel, candidates: Iterable[RuntimeName], *, threads: int | None = None) -> RuntimeName:
    """The candidate that reads one row of 3 s soonest; measured once a process for each size of model."""
    return _choose(model, tuple(candidates), threads, None)[0]


def _choose(
    model: AcousticModel, names: tuple[RuntimeName, ...], threads: int | None, memory: ChoiceMemory | None
) -> tuple[RuntimeName, Runtime | None]:
    """The fastest one's name, and itself where it was made to be measured: making one takes a third of a second."""
    key = (model.config, names, threads or torch.get_num_threads())
    with _choosing:
        if key in _chosen:
            return _chosen[key], None
        told = memory.recall(_circumstances(*key)) if memory is not None else None
        if told in names:
            _chosen[key] = told
            return _chosen[key], None
        made = {name: make_runtime(model, name, threads=threads) for name in names}
        seconds = _measure(made, model)
        _chosen[key] = min(names, key=seconds.__getitem__)
        if memory is not None:
            memory.remember(_circumstances(*key), _chosen[key])
        return _chosen[key], made[_chosen[key]]


def _circumstances(config: AcousticModelConfig, names: tuple[RuntimeName, ...], threads: int) -> str:
    """All that the fastest runtime may depend on: network, candidates, threads, processor and libraries."""
    packages = ("torch", "onnxruntime") if "onnx" in names else ("torch",)
    libraries = [f"{package} {_version(package)}" for package in packages]
    return "; ".join((_processor(), f"{threads} threads", *libraries, " or ".join(names), str(config)))


def _version(package: str) -> str:
    """An installed package's version; its module may have come under another name, such as onnxruntime-gpu."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _processor() -> str:
    """The processor's model, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    told = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(told, platform.processor() or platform.machine())


_chosen: dict[object, RuntimeName] = {}
_choosing = threading.Lock()


def _measure(runtimes: Mapping[RuntimeName, Runtime], model: AcousticModel) -> dict[RuntimeName, float]:
    """Seconds of the fastest of a few calls of each, after one that does not count: kernels are chosen in it.

    They take turns, so that what else the machine does for a moment falls on all of them.
    """
    generator = torch.Generator().manual_seed(0)
    features_BTF = torch.randn(1, _MEASURED_FRAMES, model.config.n_features, generator=generator)
    lengths_B = torch.tensor([_MEASURED_FRAMES])
    fastest = dict.fromkeys(runtimes, float("inf"))
    for call in range(1 + _MEASURED_CALLS):
        for name, runtime in runtimes.items():
            began = time.perf_counter()
            runtime(features_BTF, lengths_B)
            if call:
                fastest[name] = min(fastest[name], time.perf_counter() - began)
    return fastest


def _recorded_wer(record: object, name: str) -> float | None:
    entry = record.get(name) if isinstance(record, Mapping) else None
    rate = entry.get("wer") if isinstance(entry, Mapping) else None
    return float(rate) if isinstance(rate, int | float) and not isinstance(rate, bool) else None
