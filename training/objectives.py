"""What a network is trained for: CTC, and what can be asked of it besides while it learns.

Shape legend: B utterances, R rows (B, or 2B where every utterance is seen twice), T frames, F feature bins, S output
frames, D width, V vocabulary, U units.

Nothing of this is left in a bundle: it holds the acoustic model alone.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from features.front_end import FrontEnd
from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel
from training.augment import AugmentConfig, spec_augment
from training.dataset import Batch
from training.errors import RecipeError
from training.sampler import LENGTH_STEP_S

SECOND_VIEW = 0x9E3779B9  # added to the seeds of a row's second view; torch's generator looks at the low 32 bits


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is asked of the network besides CTC on its last layer; nothing unless it is said.

    Attributes:
        consistency_weight: of the divergence between two views of an utterance under different SpecAugment masks; 0 for
            one view. A step takes twice the time and memory of one without. It begins with SpecAugment, in epoch
            `augment.spec_augment_from_epoch`. Source: Yao et al., "CR-CTC", ICLR 2025: 0.2, with 2.5 times the time
            masks and half the passes of training without.
        intermediate_weight: share that the mean CTC loss of `intermediate_layers` has beside that of the last one,
            0..1. Their outputs go through the last layer's norm and head. Source: Lee and Watanabe, "Intermediate loss
            regularization for CTC-based speech recognition", ICASSP 2021: 0.3, the layer in the middle.
        intermediate_layers: numbers of layers, 1 for the first.
    """

    consistency_weight: float = 0.0
    intermediate_weight: float = 0.0
    intermediate_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.consistency_weight < 0:
            raise RecipeError(f"objective.consistency_weight is {self.consistency_weight}; it must not be negative")
        if not 0 <= self.intermediate_weight < 1:
            raise RecipeError(f"objective.intermediate_weight is {self.intermediate_weight}; it must lie in 0..1")
        if self.intermediate_weight and not self.intermediate_layers:
            raise RecipeError(
                f"objective.intermediate_weight is {self.intermediate_weight}; intermediate_layers must name a layer"
            )

    def verify(self, n_layers: int, augment: AugmentConfig) -> None:
        """Check against the rest of the recipe.

        Raises:
            RecipeError: a layer does not exist or is the last one, or there is nothing in which two views can differ.
        """
        for layer in self.intermediate_layers:
            if not (isinstance(layer, int) and 1 <= layer < n_layers):
                raise RecipeError(
                    f"objective.intermediate_layers has {layer!r}; with {n_layers} layers it must lie in "
                    f"1..{n_layers - 1}"
                )
        if self.consistency_weight and not (augment.freq_masks or augment.time_masks):
            raise RecipeError(
                f"objective.consistency_weight is {self.consistency_weight}, but augment has neither freq_masks nor "
                "time_masks: two views of an utterance would be the same"
            )


class TrainedNetwork(nn.Module):
    """The acoustic model with the outputs that only training looks at."""

    def __init__(self, acoustic_model: AcousticModel, config: ObjectiveConfig) -> None:
        super().__init__()
        self.acoustic_model = acoustic_model
        self._intermediate = config.intermediate_layers if config.intermediate_weight else ()

    def forward(self, features_RTF: Tensor, lengths_R: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Log-probs (R, S, V) and lengths as of the acoustic model, and the log-probs of every intermediate layer."""
        outputs, lengths_R = self.acoustic_model.encode(features_RTF, lengths_R)
        intermediate = tuple(self.acoustic_model.classify(outputs[layer - 1]) for layer in self._intermediate)
        return self.acoustic_model.classify(outputs[-1]), lengths_R, intermediate


@dataclass(frozen=True)
class Losses:
    """What a batch gave, in nats, summed over its utterances.

    Attributes:
        total: what is descended.
        ctc: CTC of the last layer alone, without gradient: the same quantity whatever the objective.
        log_probs_BSV, lengths_B: what `ctc` was computed from, without gradient; of two views the first.
    """

    total: Tensor
    ctc: Tensor
    log_probs_BSV: Tensor
    lengths_B: Tensor


class Objective:
    """From a batch to its losses.

    Args:
        config: what is asked of the network.
        augment: the SpecAugment masks.
        front_end, cmvn: what the network hears through.
    """

    def __init__(self, config: ObjectiveConfig, augment: AugmentConfig, front_end: FrontEnd, cmvn: GlobalCMVN) -> None:
        self._config, self._augment = config, augment
        self._front_end, self._cmvn = front_end, cmvn

    def losses(self, network: nn.Module, batch: Batch, epoch: int) -> Losses:
        """The losses of a batch in pass number `epoch` (0, 1, …); `network` is a `TrainedNetwork`, perhaps wrapped."""
        if not batch.ids:
            return self._nothing(network, batch)
        masked = epoch >= self._augment.spec_augment_from_epoch
        views = 2 if masked and self._config.consistency_weight else 1
        features_RTF, lengths_R = self._features(batch, masked, views)
        log_probs_RSV, lengths_R, intermediate = network(features_RTF, lengths_R)
        ctc = _ctc(log_probs_RSV, lengths_R, batch, views)
        total = ctc
        if intermediate:
            share = self._config.intermediate_weight
            inner = torch.stack([_ctc(inner_RSV, lengths_R, batch, views) for inner_RSV in intermediate])
            total = (1 - share) * ctc + share * inner.mean()
        if views == 2:
            total = total + self._config.consistency_weight * consistency_loss(log_probs_RSV, lengths_R)
        n_utterances = len(batch.ids)
        return Losses(total, ctc.detach(), log_probs_RSV[:n_utterances].detach(), lengths_R[:n_utterances])

    @torch.no_grad()
    def _features(self, batch: Batch, masked: bool, views: int) -> tuple[Tensor, Tensor]:
        features_BTF, lengths_B = self._front_end(batch.samples_BN, batch.lengths_B)
        features_BTF = self._cmvn(features_BTF, lengths_B)
        seen = [features_BTF] * views
        if masked:
            seeds = ([seed + view * SECOND_VIEW for seed in batch.seeds] for view in range(views))
            seen = [spec_augment(features_BTF, lengths_B, self._augment, row_seeds) for row_seeds in seeds]
        step = round(LENGTH_STEP_S * 1000 / self._front_end.config.hop_ms)
        features_RTF = nn.functional.pad(torch.cat(seen), (0, 0, 0, -features_BTF.shape[1] % step))
        return features_RTF, lengths_B.repeat(views)

    def _nothing(self, network: nn.Module, batch: Batch) -> Losses:
        """There is nothing to read here, but the other processes wait for gradients of zero."""
        silence_BTF = torch.zeros(1, 8, self._front_end.config.n_features, device=batch.lengths_B.device)
        log_probs_BSV, lengths_B, intermediate = network(silence_BTF, batch.lengths_B.new_tensor([8]))
        zero = 0.0 * sum(output.sum() for output in (log_probs_BSV, *intermediate))
        return Losses(zero, zero.detach(), log_probs_BSV.detach(), lengths_B)


def consistency_loss(log_probs_RSV: Float[Tensor, "R S V"], lengths_R: Int[Tensor, " R"]) -> Float[Tensor, ""]:
    """How far the posteriors of two views lie apart: half of KL(b ‖ a) + KL(a ‖ b), in nats, summed over all frames.

    In each of the two, the first distribution is a target, through which no gradient flows. Source: Yao et al.,
    "CR-CTC: Consistency regularization on CTC for improved speech recognition", ICLR 2025, equation 4.

    Args:
        log_probs_RSV: natural logarithms; all first views, then all second views in the same order.
        lengths_R: valid frames of each row.
    """
    targets_RSV = log_probs_RSV.detach().roll(len(log_probs_RSV) // 2, dims=0)
    divergence_RS = nn.functional.kl_div(log_probs_RSV, targets_RSV, reduction="none", log_target=True).sum(-1)
    valid_RS = torch.arange(divergence_RS.shape[1], device=lengths_R.device) < lengths_R.unsqueeze(1)
    return 0.5 * divergence_RS.masked_fill(~valid_RS, 0.0).sum()


def _ctc(log_probs_RSV: Tensor, lengths_R: Tensor, batch: Batch, views: int) -> Tensor:
    """CTC loss of the batch's targets, the mean of its views."""
    loss: Tensor = nn.functional.ctc_loss(
        log_probs_RSV.float().transpose(0, 1),
        batch.targets_BU.repeat(views, 1),
        lengths_R,
        batch.target_lengths_B.repeat(views),
        reduction="sum",
        zero_infinity=True,
    )
    return loss / views
