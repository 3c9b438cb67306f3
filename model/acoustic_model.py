"""The acoustic model: features → log-probabilities of characters and blank, frame by frame; of phones too, if wanted.

Shape legend: B batch, T feature frames, S subsampled frames, F feature bins, C channels, D width, V vocabulary,
P phones, O outputs: V, V + P, or with a speller 2V + P.

    features → − utterance mean → convolutions of stride 2 → linear
             → N × [x + dropout(BiLSTM(norm(x)))] ┬→ norm → linear → log-softmax ─┬→ characters heard
                                                  │                              ↓
                                                  │                           speller ─→ characters spelled
                                                  │                              ↑
                                                  └→ norm → linear → log-softmax ─┴→ phones

Trained with CTC: Graves, Fernández, Gomez and Schmidhuber, "Connectionist temporal classification", ICML 2006.
"""

import itertools
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.cancellation import CancelToken, check
from model.dropout import Dropout
from model.errors import OptionError
from model.lstm import BidirectionalLSTM, flip_indices
from model.phones import N_PHONES
from model.speller import Speller

SUBSAMPLING = 4  # feature frames per output frame unless the config says otherwise
BIN_SUBSAMPLING = 4  # feature bins per bin that the convolutions give
# Strides of the convolutions over time and bins, by the feature frames per output frame.
STRIDES = {2: ((2, 2), (1, 2)), 4: ((2, 2), (2, 2)), 8: ((2, 2), (2, 2), (2, 1))}


@dataclass(frozen=True)
class AcousticModelConfig:
    """Sizes of the network.

    Attributes:
        n_features: feature bins of the front end, F.
        vocabulary_size: units and blank, V.
        channels: channels of the subsampling convolutions, C.
        hidden_size: LSTM units in each direction; the width D is twice that.
        n_layers: bidirectional LSTM layers.
        dropout: share of each layer's output dropped in training, 0..1.
        utterance_mean: subtract each bin's mean over the utterance, which takes the channel (microphone, distance,
            long-term spectrum of the voice) out of the features.
        subsampling: feature frames per output frame: 2, 4 or 8.
        layer_norm: normalise what every LSTM layer, and the head, takes.
        n_phones: units of the phone head and its blank, P (`model.phones`); 0 for none.
        spelling_layers: layers of what spells the phones (`model.speller`), for a model that hears phones; 0 for none.
        spelling_size: width of these.
    """

    n_features: int = 80
    vocabulary_size: int = 29
    channels: int = 32
    hidden_size: int = 256
    n_layers: int = 5
    dropout: float = 0.1
    utterance_mean: bool = True
    subsampling: int = SUBSAMPLING
    layer_norm: bool = True
    n_phones: int = 0
    spelling_layers: int = 0
    spelling_size: int = 384

    def __post_init__(self) -> None:
        for name in ("n_features", "channels", "hidden_size", "n_layers", "spelling_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"acoustic model {name} is {getattr(self, name)}; it must be at least 1")
        if self.vocabulary_size < 2:
            raise OptionError(f"vocabulary_size is {self.vocabulary_size}; it must be at least 2, blank and one unit")
        if self.n_phones not in (0, N_PHONES):
            raise OptionError(f"n_phones is {self.n_phones}; it must be {N_PHONES}, or 0 for no phone head")
        if self.spelling_layers < 0 or (self.spelling_layers and not self.n_phones):
            raise OptionError(
                f"spelling_layers is {self.spelling_layers}; it must be at least 0, and 0 where n_phones is 0: phones "
                "are what is spelled"
            )
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout is {self.dropout}; it must lie in 0..1, 1 excluded")
        if self.subsampling not in STRIDES:
            raise OptionError(f"subsampling is {self.subsampling}; it must be one of {', '.join(map(str, STRIDES))}")

    @property
    def n_outputs(self) -> int:
        """Columns of the log-probs, O."""
        return sum(columns.stop - columns.start for columns in self.columns)

    @property
    def columns(self) -> tuple[slice, ...]:
        """The distributions among the columns, each with its blank first: characters heard, spelled, phones."""
        sizes = [self.vocabulary_size]
        if self.spelling_layers:
            sizes.append(self.vocabulary_size)
        if self.n_phones:
            sizes.append(self.n_phones)
        ends = list(itertools.accumulate(sizes))
        return tuple(slice(end - size, end) for end, size in zip(ends, sizes, strict=True))

    @property
    def written(self) -> slice:
        """The columns of the characters that a greedy transcript is made of: spelled where there is a speller."""
        return self.columns[1 if self.spelling_layers else 0]


def subsampled_length(n_frames: int, subsampling: int = SUBSAMPLING) -> int:
    """Output frames that `n_frames` feature frames give: a quarter unless told otherwise, rounded up."""
    return (n_frames + subsampling - 1) // subsampling


class AcousticModel(nn.Module):
    """Subsampling convolutions, a stack of residual bidirectional LSTM layers, and a CTC head."""

    def __init__(self, config: AcousticModelConfig) -> None:
        super().__init__()
        self.config = config
        width = 2 * config.hidden_size
        self.subsampling = Subsampling(config, width)
        self.layers = nn.ModuleList(ResidualBiLSTM(config) for _ in range(config.n_layers))
        self.norm = _norm(config)
        self.head = nn.Linear(width, config.vocabulary_size)
        if config.n_phones:
            self.phone_norm = _norm(config)
            self.phone_head = nn.Linear(width, config.n_phones)
        if config.spelling_layers:
            self.speller = Speller(
                config.vocabulary_size, config.n_phones, config.spelling_size, config.spelling_layers
            )

    def forward(
        self,
        features_BTF: Float[Tensor, "B T F"],
        lengths_B: Int[Tensor, " B"],
        cancelled: CancelToken | None = None,
    ) -> tuple[Float[Tensor, "B S O"], Int[Tensor, " B"]]:
        """Log-probabilities of every character, and of phones and of characters as they are spelled where it has those.

        Args:
            features_BTF: normalised features; what stands beyond each length is ignored.
            lengths_B: valid frames of each row, 0..T.
            cancelled: asked between layers.

        Returns:
            log_probs_BSO: natural logarithms, float32; a row's values do not depend on the rows beside it. Beyond its
                length they are arbitrary. `AcousticModelConfig.columns` says which distributions there are.
            lengths_B: valid output frames, `subsampled_length` of the frames.

        Raises:
            WorkCancelledError: `cancelled` was cancelled.
        """
        outputs, lengths_B = self.encode(features_BTF, lengths_B, cancelled)
        return self.judge(outputs[-1], lengths_B), lengths_B

    def encode(
        self,
        features_BTF: Float[Tensor, "B T F"],
        lengths_B: Int[Tensor, " B"],
        cancelled: CancelToken | None = None,
    ) -> tuple[list[Float[Tensor, "B S D"]], Int[Tensor, " B"]]:
        """The output of every layer, the first one first, and the valid output frames; arguments as in `forward`."""
        features_BTF = features_BTF.masked_fill(_padding(features_BTF.shape[1], lengths_B), 0.0)
        if self.config.utterance_mean:
            mean_B1F = features_BTF.sum(1, keepdim=True) / lengths_B.clamp_min(1).view(-1, 1, 1)
            features_BTF = (features_BTF - mean_B1F).masked_fill(_padding(features_BTF.shape[1], lengths_B), 0.0)
        x_BSD, lengths_B = self.subsampling(features_BTF, lengths_B)
        flip_BS = flip_indices(lengths_B, x_BSD.shape[1])
        outputs = []
        for layer in self.layers:
            check(cancelled)
            x_BSD = layer(x_BSD, flip_BS)
            outputs.append(x_BSD)
        return outputs, lengths_B

    def classify(self, x_BSD: Float[Tensor, "B S D"]) -> Float[Tensor, "B S V"]:
        """Log-probabilities of every unit from a layer's output, unspelled; natural logarithms, float32."""
        logits_BSV: Tensor = self.head(self.norm(x_BSD))
        return logits_BSV.float().log_softmax(-1)

    def classify_phones(self, x_BSD: Float[Tensor, "B S D"]) -> Float[Tensor, "B S P"]:
        """The same of every phone, from the last layer's output; for a model with a phone head."""
        logits_BSP: Tensor = self.phone_head(self.phone_norm(x_BSD))
        return logits_BSP.float().log_softmax(-1)

    def judge(self, x_BSD: Float[Tensor, "B S D"], lengths_B: Int[Tensor, " B"]) -> Float[Tensor, "B S O"]:
        """All that is said of the last layer's output, side by side."""
        letters_BSV = self.classify(x_BSD)
        if not self.config.n_phones:
            return letters_BSV
        phones_BSP = self.classify_phones(x_BSD)
        if not self.config.spelling_layers:
            return torch.cat([letters_BSV, phones_BSP], -1)
        return torch.cat([letters_BSV, self.speller(phones_BSP, lengths_B, letters_BSV), phones_BSP], -1)

    def without_speller(self) -> "AcousticModel":
        """The same weights without those of the speller: what a search takes."""
        if not self.config.spelling_layers:
            return self
        with torch.device("meta"):
            other = AcousticModel(replace(self.config, spelling_layers=0))
        weights = {name: weight for name, weight in self.state_dict().items() if not name.startswith("speller.")}
        other.load_state_dict(weights, assign=True)
        return other.train(self.training).requires_grad_(False)


class Subsampling(nn.Module):
    """3×3 convolutions of stride 2, two of them over frequency, then a projection to the model's width."""

    def __init__(self, config: AcousticModelConfig, width: int) -> None:
        super().__init__()
        self.strides = STRIDES[config.subsampling]
        for number, stride in enumerate(self.strides, 1):
            n_inputs = 1 if number == 1 else config.channels
            conv = nn.Conv2d(n_inputs, config.channels, kernel_size=3, stride=stride, padding=1)
            self.add_module(f"conv{number}", conv)
        self.projection = nn.Linear(config.channels * subsampled_length(config.n_features, BIN_SUBSAMPLING), width)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) → (B, S, D); padding is zeroed before each convolution, as if each row stood alone."""
        x_BCTF = features_BTF.unsqueeze(1)
        for number, (stride, _) in enumerate(self.strides, 1):
            x_BCTF = torch.relu(self.get_submodule(f"conv{number}")(x_BCTF))
            lengths_B = (lengths_B + stride - 1) // stride
            x_BCTF = x_BCTF * ~_padding(x_BCTF.shape[2], lengths_B).unsqueeze(1)
        x_SBX = x_BCTF.permute(2, 0, 1, 3).flatten(2)  # time first in memory, as the LSTMs have it
        return self.projection(x_SBX).transpose(0, 1), lengths_B


class ResidualBiLSTM(nn.Module):
    """x + dropout(BiLSTM(norm(x))), the width kept."""

    def __init__(self, config: AcousticModelConfig) -> None:
        super().__init__()
        self.norm = _norm(config)
        self.lstm = BidirectionalLSTM(2 * config.hidden_size, config.hidden_size)
        self.dropout = Dropout(config.dropout)

    def forward(self, x_BSD: Tensor, flip_BS: Tensor) -> Tensor:
        """One layer; `flip_BS` as in `BidirectionalLSTM`, whose order in memory is kept throughout."""
        x_SBD = x_BSD.transpose(0, 1)
        y_BSD = self.lstm(self.norm(x_SBD).transpose(0, 1), flip_BS)
        x_SBD = x_SBD + torch.as_tensor(self.dropout(y_BSD.transpose(0, 1)))
        return x_SBD.transpose(0, 1)


def _norm(config: AcousticModelConfig) -> nn.Module:
    return nn.LayerNorm(2 * config.hidden_size) if config.layer_norm else nn.Identity()


def _padding(n_frames: int, lengths_B: Tensor) -> Tensor:
    """(B, n_frames, 1), true beyond each length."""
    return (torch.arange(n_frames, device=lengths_B.device) >= lengths_B.unsqueeze(1)).unsqueeze(-1)
