"""A bidirectional LSTM that answers while audio arrives: the latency-controlled BLSTM.

Shape legend: T feature frames, S output frames, F feature bins, D width, V vocabulary.

Offline, the backward LSTMs read a recording from its end. Here they begin as far ahead of a frame as audio is known,
and a frame is settled once there are `right_frames` after it. The forward LSTMs go on from where they stood at the last
settled frame, so that their left context is everything since the stream began and no frame of it is computed again.
Backward states are never kept: every call runs the backward LSTMs anew over what is not settled yet.

    settled before │ settled now │ right context, to be computed again
    ── forward ────┼────────────→│───────────→
                   │←────────────┼──── backward ──

Source: Zhang et al., "Highway long short-term memory RNNs for distant speech recognition", ICASSP 2016, section 4.

Offline, each feature bin's mean over the utterance is taken out of it. A stream does not know that mean: what stands in
for it is the mean of what has been heard, as if `prior_frames` of the training corpus' mean had been heard before.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from model.acoustic_model import AcousticModel, ResidualBiLSTM
from model.errors import OptionError


class RunningMean:
    """Mean of each feature bin over about the last `memory_frames`.

    Args:
        n_features: feature bins.
        prior_frames: how many frames of zeros, the mean of normalised features over the training corpus, count as heard
            before the first one.
        memory_frames: the weight of everything that was heard, at most.
    """

    def __init__(self, n_features: int, *, prior_frames: float, memory_frames: float) -> None:
        if not 0 <= prior_frames <= memory_frames or not memory_frames >= 1:
            raise OptionError(
                f"the mean begins with {prior_frames} frames and remembers {memory_frames}; "
                "at least 0 and at least 1 are needed, and no more to begin with than it remembers"
            )
        self._sum_F = torch.zeros(n_features)
        self._weight = prior_frames
        self._heard = 0.0  # of that weight, what is no prior
        self._most = memory_frames

    def feed(self, features_TF: Float[Tensor, "T F"]) -> None:
        """Take more frames into account."""
        self._sum_F = self._sum_F + features_TF.sum(0)
        self._weight += len(features_TF)
        self._heard += len(features_TF)
        if self._weight > self._most:
            kept = self._most / self._weight
            self._sum_F, self._heard = self._sum_F * kept, self._heard * kept
            self._weight = self._most

    def shift(self, by_F: Float[Tensor, " F"], least_F: Float[Tensor, " F"]) -> None:
        """Remember what was heard as if its mean had been larger by so much, but not below `least_F`."""
        if self._heard:
            self._sum_F = self._heard * torch.maximum(self._sum_F / self._heard + by_F, least_F)

    def estimate(self) -> Float[Tensor, " F"]:
        """The mean now; zeros before the first frame."""
        return self._sum_F / max(self._weight, 1.0)


class LatencyControlledModel:
    """The acoustic model over features that arrive in pieces.

    The settled rows of all `feed` calls and of `flush`, one after another, are the log-probs of the whole. They depend
    on where the features were cut, since a frame's right context is what is known when it is settled: at least
    `right_frames`. The state is bounded: one LSTM state a layer, and the features that are not settled.

    Args:
        model: the acoustic model, in evaluation mode; its runtime is torch, because no other hands its state out.
        right_frames: output frames of right context after which a frame is settled.
        mean: what is taken out of the features, where the model takes out a mean; outlives `flush`.
    """

    def __init__(self, model: AcousticModel, *, right_frames: int, mean: RunningMean) -> None:
        if right_frames < 0:
            raise OptionError(f"right context is {right_frames} frames; at least 0 are needed")
        self._model = model
        self._layers = [layer for layer in model.layers if isinstance(layer, ResidualBiLSTM)]
        self._right_frames = right_frames
        self._subsampling = model.config.subsampling
        # The convolutions reach three feature frames back, and seven where the last of them steps over eight.
        self._most_margin = 2 if self._subsampling == 2 else 1
        self._mean = mean
        self._start()

    def _start(self) -> None:
        self._features_TF = torch.zeros(0, self._model.config.n_features)
        self._margin = 0  # output frames at the beginning of these that are settled: the convolutions look back
        self._states: list[tuple[Tensor, Tensor] | None] = [None] * len(self._layers)
        self._heard_SP = torch.zeros(0, self._model.config.n_phones)  # the last settled frames, for the speller

    def feed(self, features_TF: Float[Tensor, "T F"]) -> tuple[Float[Tensor, "S V"], Float[Tensor, "S2 V"]]:
        """Take normalised features; return log-probs of the frames that are settled with them, and of those after.

        Natural logarithms. The second part is an outlook: its rows see less right context than the settled ones, and
        the next call computes them again.
        """
        self._take(features_TF)
        known = len(self._features_TF) // self._subsampling - self._margin
        return self._compute(max(0, known - self._right_frames), known)

    def shift(self, by_F: Float[Tensor, " F"], least_F: Float[Tensor, " F"]) -> None:
        """Go on as if all features so far had been larger by so much, but not below `least_F`.

        What the LSTMs remember stays, since it comes from features less their mean.
        """
        self._features_TF = torch.maximum(self._features_TF + by_F, least_F)
        self._mean.shift(by_F, least_F)

    def flush(self) -> Float[Tensor, "S V"]:
        """The audio is over: return the rest, and be ready for other audio."""
        known = -(-len(self._features_TF) // self._subsampling) - self._margin
        settled_SV, _ = self._compute(known, known)
        self._start()
        return settled_SV

    def _take(self, features_TF: Tensor) -> None:
        self._features_TF = torch.cat([self._features_TF, features_TF])
        self._mean.feed(features_TF)

    @torch.inference_mode()
    def _compute(self, settled: int, known: int) -> tuple[Tensor, Tensor]:
        model, margin = self._model, self._margin
        if known <= 0:
            nothing_SV = torch.zeros(0, model.config.n_outputs)
            return nothing_SV, nothing_SV
        used_TF = self._features_TF[: (margin + known) * self._subsampling]
        if model.config.utterance_mean:
            used_TF = used_TF - self._mean.estimate()
        x_BSD, _ = model.subsampling(used_TF.unsqueeze(0), torch.tensor([len(used_TF)]))
        x_BSD = x_BSD[:, margin:]
        for number, layer in enumerate(self._layers):
            normed_BSD = layer.norm(x_BSD)
            forward_BSH, self._states[number] = _forward(
                layer.lstm.forward_lstm, normed_BSD, settled, self._states[number]
            )
            backward_BSH, _ = layer.lstm.backward_lstm(normed_BSD.flip(1))
            x_BSD = x_BSD + torch.cat([forward_BSH, backward_BSH.flip(1)], dim=-1)
        log_probs_SV = self._judge(x_BSD, settled)
        if settled:
            self._margin = min(self._most_margin, margin + settled)
            self._features_TF = self._features_TF[(margin + settled - self._margin) * self._subsampling :].clone()
        return log_probs_SV[:settled], log_probs_SV[settled:]

    def _judge(self, x_BSD: Tensor, settled: int) -> Tensor:
        """`AcousticModel.judge`, with the phones before that the speller looks back to."""
        model = self._model
        if not model.config.spelling_layers:
            return model.judge(x_BSD, torch.tensor([x_BSD.shape[1]]))[0]
        letters_SV, phones_SP = model.classify(x_BSD)[0], model.classify_phones(x_BSD)[0]
        before = len(self._heard_SP)
        heard_SP = torch.cat([self._heard_SP, phones_SP])
        unheard_SV = torch.zeros(before, letters_SV.shape[1])  # a frame's characters count for that frame alone
        spelled_SV = model.speller(
            heard_SP.unsqueeze(0), torch.tensor([len(heard_SP)]), torch.cat([unheard_SV, letters_SV]).unsqueeze(0)
        )[0, before:]
        surplus = max(0, before + settled - model.speller.reach)  # an even number goes: pairs of frames stay together
        self._heard_SP = heard_SP[surplus - surplus % 2 : before + settled].clone()
        return torch.cat([letters_SV, spelled_SV, phones_SP], -1)


_State = tuple[Tensor, Tensor]


def _forward(lstm: torch.nn.LSTM, x_BSD: Tensor, settled: int, state: _State | None) -> tuple[Tensor, _State | None]:
    """All frames from `state` on, and the state after the settled ones."""
    parts = []
    if settled:
        part_BSH, state = lstm(x_BSD[:, :settled], state)
        parts.append(part_BSH)
    if settled < x_BSD.shape[1]:
        part_BSH, _ = lstm(x_BSD[:, settled:], state)
        parts.append(part_BSH)
    return torch.cat(parts, dim=1), state
