"""What a network is trained for: CTC, and what can be asked of it besides while it learns.

Shape legend: B utterances, R rows (B, or 2B where every utterance is seen twice), T frames, F feature bins, S output
frames, D width, V vocabulary, U units, P phones.

Of this nothing is left in a bundle: it holds the acoustic model alone, its phone head included.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from features.front_end import FrontEnd, mel_centres
from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel, AcousticModelConfig
from training.augment import AugmentConfig, spec_augment, warp_frequencies
from training.dataset import Batch
from training.denominator import PhoneDenominator
from training.errors import RecipeError
from training.phones import PhoneTargets
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
        phone_weight: of the losses of the phone head, added to those of characters; for a model that has one
            (`acoustic_model.n_phones`), and above 0 there.
        phone_dictionary: file in CMUdict's format; a relative path is relative to the working directory. An utterance
            with a word that is not in it, or with more phones than frames, has no CTC loss on phones.
        phone_mmi: share, 0..1, of the logarithm of `training.denominator` that is added to the CTC loss on phones: with
            1 the transcript competes with all other phone sequences, by a trigram of the training transcripts. Source:
            Xiang and Ou, ICASSP 2019, who keep a tenth of CTC or less beside it (0.9).
    """

    consistency_weight: float = 0.0
    intermediate_weight: float = 0.0
    intermediate_layers: tuple[int, ...] = ()
    phone_weight: float = 0.0
    phone_dictionary: str = ""
    phone_mmi: float = 0.0

    def __post_init__(self) -> None:
        for name in ("consistency_weight", "phone_weight"):
            if getattr(self, name) < 0:
                raise RecipeError(f"objective.{name} is {getattr(self, name)}; it must not be negative")
        if not 0 <= self.intermediate_weight < 1:
            raise RecipeError(f"objective.intermediate_weight is {self.intermediate_weight}; it must lie in 0..1")
        if self.intermediate_weight and not self.intermediate_layers:
            raise RecipeError(
                f"objective.intermediate_weight is {self.intermediate_weight}; intermediate_layers must name a layer"
            )
        if self.phone_weight and not self.phone_dictionary:
            raise RecipeError(f"objective.phone_weight is {self.phone_weight}; phone_dictionary must name a file")
        if not 0 <= self.phone_mmi <= 1:
            raise RecipeError(f"objective.phone_mmi is {self.phone_mmi}; it must lie in 0..1")
        if self.phone_mmi and not self.phone_weight:
            raise RecipeError(f"objective.phone_mmi is {self.phone_mmi}; it needs a phone_weight above 0")

    def verify(self, model: AcousticModelConfig, augment: AugmentConfig) -> None:
        """Check against the rest of the recipe.

        Raises:
            RecipeError: a layer does not exist or is the last one, there is a speller, there is a phone head without a
                weight or a weight without a head, or there is nothing in which two views can differ.
        """
        n_layers = model.n_layers
        for layer in self.intermediate_layers:
            if not (isinstance(layer, int) and 1 <= layer < n_layers):
                raise RecipeError(
                    f"objective.intermediate_layers has {layer!r}; with {n_layers} layers it must lie in "
                    f"1..{n_layers - 1}"
                )
        if bool(self.phone_weight) != bool(model.n_phones):
            raise RecipeError(
                f"objective.phone_weight is {self.phone_weight} and acoustic_model.n_phones {model.n_phones}; a head "
                "has a weight above 0, and without one the weight is 0"
            )
        if model.spelling_layers:
            raise RecipeError(
                f"acoustic_model.spelling_layers is {model.spelling_layers}; a recipe trains what the speller takes, "
                "with 0: `cepstra train-speller` adds it afterwards"
            )
        if self.consistency_weight and not (augment.freq_masks or augment.time_masks or augment.frequency_warp):
            raise RecipeError(
                f"objective.consistency_weight is {self.consistency_weight}, but augment has neither freq_masks nor "
                "time_masks nor frequency_warp: two views of an utterance would be the same"
            )


class TrainedNetwork(nn.Module):
    """The acoustic model with the outputs that only training looks at."""

    def __init__(self, acoustic_model: AcousticModel, config: ObjectiveConfig) -> None:
        super().__init__()
        self.acoustic_model = acoustic_model
        self._intermediate = config.intermediate_layers if config.intermediate_weight else ()

    def forward(
        self, features_RTF: Tensor, lengths_R: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Log-probs and lengths as of the acoustic model, then of every intermediate layer, then of phones if any."""
        outputs, lengths_R = self.acoustic_model.encode(features_RTF, lengths_R)
        intermediate = tuple(self.acoustic_model.classify(outputs[layer - 1]) for layer in self._intermediate)
        has_phones = bool(self.acoustic_model.config.n_phones)
        phones = (self.acoustic_model.classify_phones(outputs[-1]),) if has_phones else ()
        return self.acoustic_model.classify(outputs[-1]), lengths_R, intermediate, phones


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
        augment: the SpecAugment masks and the warp of the frequencies.
        front_end, cmvn: what the network hears through.
        phones: gives the targets of the phone loss; needed where there is one.
        denominator: what these targets compete with; needed where `phone_mmi` is above 0.
    """

    def __init__(
        self,
        config: ObjectiveConfig,
        augment: AugmentConfig,
        front_end: FrontEnd,
        cmvn: GlobalCMVN,
        phones: PhoneTargets | None = None,
        denominator: PhoneDenominator | None = None,
    ) -> None:
        self._config, self._augment = config, augment
        self._front_end, self._cmvn, self._phones, self._denominator = front_end, cmvn, phones, denominator
        self._centres_F = mel_centres(front_end.config) if augment.frequency_warp else None

    def losses(self, network: nn.Module, batch: Batch, epoch: int) -> Losses:
        """The losses of a batch in pass number `epoch` (0, 1, …); `network` is a `TrainedNetwork`, perhaps wrapped."""
        if not batch.ids:
            return self._nothing(network, batch)
        masked = epoch >= self._augment.spec_augment_from_epoch
        views = 2 if masked and self._config.consistency_weight else 1
        features_RTF, lengths_R = self.features(batch, masked, views)
        log_probs_RSV, lengths_R, intermediate, phones = network(features_RTF, lengths_R)
        spelled = _Targets(batch.targets_BU, batch.target_lengths_B)
        ctc = _ctc(log_probs_RSV, lengths_R, spelled, views)
        total = ctc
        if intermediate:
            share = self._config.intermediate_weight
            inner = torch.stack([_ctc(inner_RSV, lengths_R, spelled, views) for inner_RSV in intermediate])
            total = (1 - share) * ctc + share * inner.mean()
        if views == 2:
            total = total + self._config.consistency_weight * consistency_loss(log_probs_RSV, lengths_R)
        for phones_RSP in phones:
            heard = self._phone_loss(phones_RSP, lengths_R, batch, views)
            if views == 2:
                heard = heard + self._config.consistency_weight * consistency_loss(phones_RSP, lengths_R)
            total = total + self._config.phone_weight * heard
        n_utterances = len(batch.ids)
        return Losses(total, ctc.detach(), log_probs_RSV[:n_utterances].detach(), lengths_R[:n_utterances])

    def _phone_loss(self, log_probs_RSP: Tensor, lengths_R: Tensor, batch: Batch, views: int) -> Tensor:
        assert self._phones is not None
        spelled = zip(batch.targets_BU.tolist(), batch.target_lengths_B.tolist(), strict=True)
        spoken = [self._phones.of(target_U[:length]) for target_U, length in spelled]
        known = [row for row, phones in enumerate(spoken) if phones is not None]
        if not known:
            return 0.0 * log_probs_RSP.sum()
        rows = torch.tensor(known, device=lengths_R.device)
        rows = torch.cat([rows + view * len(spoken) for view in range(views)])
        tensors = [
            torch.tensor(phones, dtype=torch.long, device=lengths_R.device) for phones in spoken if phones is not None
        ]
        targets = _Targets(
            nn.utils.rnn.pad_sequence(tensors, batch_first=True),
            torch.tensor([len(phones) for phones in tensors], device=lengths_R.device),
        )
        log_probs_RSP, lengths_R = log_probs_RSP[rows], lengths_R[rows]
        loss_R = _ctc_by_row(log_probs_RSP, lengths_R, targets, views)
        if self._config.phone_mmi:
            assert self._denominator is not None
            log_total_R = self._denominator.log_total(log_probs_RSP, lengths_R)
            loss_R = loss_R + self._config.phone_mmi * log_total_R.masked_fill(loss_R == 0, 0.0)
        return loss_R.sum() / views

    @torch.no_grad()
    def features(self, batch: Batch, masked: bool, views: int) -> tuple[Tensor, Tensor]:
        """What the network takes of a batch, (views × B, T, F), all first views first, and its valid frames."""
        features_BTF, lengths_B = self._front_end(batch.samples_BN, batch.lengths_B)
        seen = []
        for view in range(views):
            seeds, view_BTF = [seed + view * SECOND_VIEW for seed in batch.seeds], features_BTF
            if self._centres_F is not None:
                view_BTF = warp_frequencies(view_BTF, self._centres_F, self._augment.frequency_warp, seeds)
            view_BTF = self._cmvn(view_BTF, lengths_B)
            seen.append(spec_augment(view_BTF, lengths_B, self._augment, seeds) if masked else view_BTF)
        step = round(LENGTH_STEP_S * 1000 / self._front_end.config.hop_ms)
        features_RTF = nn.functional.pad(torch.cat(seen), (0, 0, 0, -features_BTF.shape[1] % step))
        return features_RTF, lengths_B.repeat(views)

    def _nothing(self, network: nn.Module, batch: Batch) -> Losses:
        """There is nothing to read here, but the other processes wait for gradients of zero."""
        silence_BTF = torch.zeros(1, 8, self._front_end.config.n_features, device=batch.lengths_B.device)
        log_probs_BSV, lengths_B, intermediate, phones = network(silence_BTF, batch.lengths_B.new_tensor([8]))
        zero = 0.0 * torch.stack([output.sum() for output in (log_probs_BSV, *intermediate, *phones)]).sum()
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


@dataclass(frozen=True)
class _Targets:
    units_BU: Tensor
    lengths_B: Tensor


def _ctc(log_probs_RSV: Tensor, lengths_R: Tensor, targets: _Targets, views: int) -> Tensor:
    """CTC loss, the mean of the views."""
    return _ctc_by_row(log_probs_RSV, lengths_R, targets, views).sum() / views


def _ctc_by_row(log_probs_RSV: Tensor, lengths_R: Tensor, targets: _Targets, views: int) -> Tensor:
    """CTC loss of every row; 0 for one with more units than frames."""
    loss_R: Tensor = nn.functional.ctc_loss(
        log_probs_RSV.float().transpose(0, 1),
        targets.units_BU.repeat(views, 1),
        lengths_R,
        targets.lengths_B.repeat(views),
        reduction="none",
        zero_infinity=True,
    )
    return loss_R
