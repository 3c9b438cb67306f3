"""What happened inside while audio became words: features, every gate of every LSTM, posteriors, words.

Shape legend: N samples, T feature frames, F feature bins, S output frames, U units of a head and its blank, O all
columns of the log-probs, L layers, D directions (forward, backward), Q quantities of a cell (`QUANTITIES`), H hidden
units.

The audio takes the way of `Transcriber`, so what is seen is what is served. Beside each `torch.nn.LSTM` the same frames
go through the cell that is written out gate by gate (`model.lstm.LSTMCell`), which is equal to it to 1e-6 and tells
all that happens in it.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from features.audio import Waveform
from model.acoustic_model import AcousticModel
from model.checkpoint import Bundle
from model.errors import OptionError
from model.lstm import LSTMCell
from model.phones import PHONE_UNITS
from model.runtime import TorchRuntime
from model.sources import Audio, opened
from model.transcriber import Transcriber
from model.transcript import Transcript
from model.windows import CutWindow, WindowCutter

LONGEST_S = 30.0  # the network sees as much at once; 5 layers of 256 units are 46 MB of gates then
DIRECTIONS = ("forward", "backward")
QUANTITIES = ("input gate", "forget gate", "output gate", "candidate", "cell", "hidden")
BLANK = "∅"


@dataclass(frozen=True)
class Head:
    """What the network says of one kind of unit.

    Attributes:
        name: "letters" as they are heard, "letters as spelled" from the phones, or "phones".
        units: their names, CTC's blank (`BLANK`) first; the boundary between words is a space.
        log_probs_SU: natural logarithms. Where the network was not asked, the blank is certain.
    """

    name: str
    units: tuple[str, ...]
    log_probs_SU: Float[np.ndarray, "S U"]


@dataclass(frozen=True)
class Inspection:
    """All of one transcription.

    Attributes:
        model: the bundle's name.
        transcript: what was written, times in seconds from `begin_s` on.
        begin_s: where in the audio this begins, seconds.
        samples_N: the samples.
        sample_rate_hz: their rate.
        hop_s: seconds from one feature frame to the next.
        frame_s: seconds from one output frame to the next.
        features_TF: what the network is given: features less the corpus' mean, over its standard deviation. NaN where
            nobody can be speaking, so that it is not asked.
        gates_LDQSH: every quantity of every unit, in order of time in both directions; NaN as above. Gates lie in 0..1,
            candidate and hidden in -1..1, the cell anywhere.
        heads: one for each kind of unit.
    """

    model: str
    transcript: Transcript
    begin_s: float
    samples_N: Float[np.ndarray, " N"]
    sample_rate_hz: int
    hop_s: float
    frame_s: float
    features_TF: Float[np.ndarray, "T F"]
    gates_LDQSH: Float[np.ndarray, "L D Q S H"]
    heads: tuple[Head, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything but the words as arrays, by the name of the attribute; of a head, `log_probs` and `units`."""
        arrays = {"samples": self.samples_N, "features": self.features_TF, "gates": self.gates_LDQSH}
        for head in self.heads:
            name = head.name.replace(" ", "_")
            arrays |= {f"{name}_log_probs": head.log_probs_SU, f"{name}_units": np.array(head.units)}
        steps = {"sample_rate_hz": self.sample_rate_hz, "hop_s": self.hop_s, "frame_s": self.frame_s}
        return arrays | {name: np.array(value) for name, value in steps.items()}


def inspect_audio(
    bundle: Bundle,
    audio: Audio,
    *,
    begin_s: float = 0.0,
    end_s: float | None = None,
    greedy: bool = False,
    alternatives: int = 5,
) -> Inspection:
    """Transcribe audio and remember what happened.

    Args:
        bundle: the model; it is computed by torch in float32, and stays as it is.
        audio: as `Transcriber.transcribe` takes it.
        begin_s: where the part that is transcribed begins, seconds.
        end_s: where it ends, at most `LONGEST_S` later; None for the end of the audio.
        greedy: decode without the bundle's language model.
        alternatives: how many are given with each word where a language model's search has some.

    Raises:
        OptionError: the part is longer than `LONGEST_S`, empty, or begins before 0.
        features.errors.AudioError: the audio cannot be used.
        OSError: the path cannot be opened.
    """
    network = copy.deepcopy(bundle.acoustic_model)  # others may be at work with it, and are not to be listened to
    listener = _Listener(network)
    transcriber = Transcriber(bundle, runtime=TorchRuntime(network), greedy=greedy)
    front_end = bundle.front_end.config
    waveform = Waveform(_part(audio, front_end.sample_rate_hz, begin_s, end_s), front_end.sample_rate_hz)
    transcript = transcriber.transcribe(waveform, alternatives=0 if transcriber.greedy else alternatives)
    log_probs_SO = transcriber.log_probs(waveform).numpy()
    samples_a_frame = front_end.hop_samples * network.config.subsampling
    cutter = WindowCutter(front_end.sample_rate_hz, samples_a_frame, transcriber.chunking, transcriber.detection)
    windows = [*cutter.feed(waveform.samples_N), *cutter.flush()]
    features_TF, gates_LDQSH = listener.heard(windows, front_end.n_frames(len(waveform.samples_N)), len(log_probs_SO))
    return Inspection(
        model=bundle.name,
        transcript=transcript,
        begin_s=begin_s,
        samples_N=waveform.samples_N,
        sample_rate_hz=front_end.sample_rate_hz,
        hop_s=front_end.hop_samples / front_end.sample_rate_hz,
        frame_s=bundle.frame_s,
        features_TF=features_TF,
        gates_LDQSH=gates_LDQSH,
        heads=_heads(bundle, log_probs_SO),
    )


def _part(audio: Audio, rate_hz: int, begin_s: float, end_s: float | None) -> Float[np.ndarray, " N"]:
    """The samples from `begin_s` to `end_s`; what comes later is not decoded."""
    first, last = _sample(begin_s, rate_hz), math.inf if end_s is None else _sample(end_s, rate_hz)
    if not 0 <= first < last:
        end = "the end" if end_s is None else f"{end_s:g} s"
        raise OptionError(f"the part from {begin_s:g} s to {end} is none; it begins at 0 s at least, before its end")
    longest, pieces, reached = round(LONGEST_S * rate_hz), [np.zeros(0, np.float32)], 0
    with opened(audio, rate_hz) as blocks:
        for block_N in blocks:
            piece_N = block_N[max(0, int(first) - reached) : max(0, int(min(last - reached, len(block_N))))]
            pieces.append(piece_N)
            reached += len(block_N)
            if reached >= last or reached - first > longest:
                break
    samples_N = np.concatenate(pieces)
    if len(samples_N) > longest:
        raise OptionError(
            f"more than {LONGEST_S:g} s are asked for; that is the most that can be looked into at once: name a part, "
            "as from 12.5 s to 30 s"
        )
    if not len(samples_N):
        raise OptionError(f"the audio ends before {begin_s:g} s, where the part begins")
    return samples_N


def _sample(time_s: float, rate_hz: int) -> float:
    """The number of the sample then, a whole one; infinite or NaN where the time is, or is too late to be counted."""
    sample = time_s * rate_hz
    return round(sample) if math.isfinite(sample) else sample


def _heads(bundle: Bundle, log_probs_SO: np.ndarray) -> tuple[Head, ...]:
    config, tokenizer = bundle.acoustic_model.config, bundle.tokenizer
    letters = (BLANK, *(tokenizer.decode([index]) for index in range(1, config.vocabulary_size)))
    phones = (BLANK, *PHONE_UNITS)
    names = [
        "letters",
        *(["letters as spelled"] if config.spelling_layers else []),
        *(["phones"] * bool(config.n_phones)),
    ]
    return tuple(
        Head(name, phones if name == "phones" else letters, log_probs_SO[:, columns])
        for name, columns in zip(names, config.columns, strict=True)
    )


class _Listener:
    """Hears what goes into a model, and into each of its LSTMs.

    Args:
        model: to be listened to from now on; a call is for one window.
    """

    def __init__(self, model: AcousticModel) -> None:
        self._config = model.config
        self._lstms = [module for module in model.layers.modules() if isinstance(module, nn.LSTM)]
        self._calls: list[list[Tensor]] = []  # features, and the inputs of the LSTMs in order
        model.register_forward_pre_hook(lambda _, inputs: self._calls.append([inputs[0]]))
        for lstm in self._lstms:
            lstm.register_forward_pre_hook(lambda _, inputs: self._calls[-1].append(inputs[0]))

    def heard(
        self, windows: Sequence[CutWindow], n_features: int, n_frames: int
    ) -> tuple[Float[np.ndarray, "T F"], Float[np.ndarray, "L D Q S H"]]:
        """Features, and what happened in the cells, of the last calls; NaN between the windows.

        Args:
            windows: those that the last calls were for. None has context, since none is of audio that had to be cut.
            n_features: feature frames of the whole, T.
            n_frames: output frames of the whole, S.
        """
        config = self._config
        features_TF = np.full((n_features, config.n_features), np.nan, np.float32)
        lstms = (config.n_layers, len(DIRECTIONS), len(QUANTITIES))
        gates_LDQSH = np.full((*lstms, n_frames, config.hidden_size), np.nan, np.float32)
        for window, (features_BTF, *inputs) in zip(
            windows, self._calls[len(self._calls) - len(windows) :], strict=True
        ):
            assert (window.skip_frames, window.keep_frames) == (0, None)
            into_TF = features_TF[window.first_frame * config.subsampling :]
            into_TF[: features_BTF.shape[1]] = features_BTF[0, : len(into_TF)].numpy()
            into_LDQSH = gates_LDQSH[:, :, :, window.first_frame :]
            traced_LDQSH = self._gates(inputs)
            into_LDQSH[:, :, :, : traced_LDQSH.shape[3]] = traced_LDQSH[:, :, :, : into_LDQSH.shape[3]]
        return features_TF, gates_LDQSH

    @torch.inference_mode()
    def _gates(self, inputs: list[Tensor]) -> Float[np.ndarray, "L D Q S H"]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # two that share products as small as a frame's wait for each other most of the time
        try:
            gates_KQSH = np.stack([_trace(lstm, x_BSD) for lstm, x_BSD in zip(self._lstms, inputs, strict=True)])
        finally:
            torch.set_num_threads(threads)
        gates_LDQSH = gates_KQSH.reshape(self._config.n_layers, len(DIRECTIONS), *gates_KQSH.shape[1:])
        gates_LDQSH[:, 1] = gates_LDQSH[:, 1, :, ::-1]  # what runs backward was given the last frame first
        return gates_LDQSH


def _trace(lstm: nn.LSTM, x_BSD: Tensor) -> Float[np.ndarray, "Q S H"]:
    """What happens in the cell, frame by frame as it is given them."""
    steps = LSTMCell.from_torch(lstm).run(x_BSD)
    seen = [
        (step.input_gate_BH, step.forget_gate_BH, step.output_gate_BH, step.candidate_BH, step.cell_BH, step.hidden_BH)
        for step in steps
    ]
    return torch.stack([torch.cat(step) for step in seen], dim=1).numpy()
