"""What the phone head has to be sure against: all other phone sequences, weighed by how likely they are in English.

CTC asks each frame for its unit as if the others did not exist, so the network learns, besides how phones sound, which
phones are common and follow each other; the search then adds what its language model knows of that once more. Divided
by the sum over all sequences, each with its probability by an n-gram of phones, a transcript's probability is
large for what is heard alone. That is maximum mutual information without lattices, with CTC's topology.

Source: Povey et al., "Purely sequence-trained neural networks for ASR based on lattice-free MMI", Interspeech 2016;
Xiang and Ou, "CRF-based single-stage acoustic modeling with CTC topology", ICASSP 2019, equation 3.

Shape legend: R rows, S output frames, P phones and the blank, L labels (P without the blank); I, J, K are labels, J the
last one written, I the one before it, K the next.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.phones import N_PHONES, PHONE_BOUNDARY_ID

N_LABELS = N_PHONES - 1
START = PHONE_BOUNDARY_ID  # what stands before an utterance, twice


def phone_trigram(sequences: Iterable[Sequence[int]]) -> Float[Tensor, "L L L"]:
    """Probability of each label after two others, the first two axes; each distribution sums to 1.

    Interpolated with bigram and unigram by the number of different successors, the unigram with equal shares. Source:
    Witten and Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37(4), 1991, method C.

    Args:
        sequences: phones and boundaries as the head writes them, 1..P-1, without blanks.
    """
    counts = Counter[tuple[int, int, int]]()
    for sequence in sequences:
        padded = (START, START, *sequence)
        counts.update(zip(padded, padded[1:], sequence, strict=False))
    counts_IJK = torch.zeros(N_LABELS, N_LABELS, N_LABELS, dtype=torch.float64)
    for (before, last, label), count in counts.items():
        counts_IJK[before - 1, last - 1, label - 1] = count
    lower_K = torch.full((N_LABELS,), 1 / N_LABELS, dtype=torch.float64)
    unigram_K = _interpolated(counts_IJK.sum((0, 1)), lower_K)
    bigram_JK = _interpolated(counts_IJK.sum(0), unigram_K)
    return _interpolated(counts_IJK, bigram_JK).float()


class PhoneDenominator:
    """The sum over all phone sequences, and all of CTC's ways to write each, of n-gram times network.

    Args:
        trigram_IJK: as of `phone_trigram`.
    """

    def __init__(self, trigram_IJK: Float[Tensor, "L L L"]) -> None:
        onward_JIK = trigram_IJK.transpose(0, 1)
        other_JIK = onward_JIK * (1 - torch.eye(N_LABELS)).unsqueeze(1)  # a phone twice needs a blank between
        self._onward_JXK = torch.cat([other_JIK, onward_JIK], 1).contiguous()  # X: 2 L states, see `log_total`

    def log_total(self, log_probs_RSP: Float[Tensor, "R S P"], lengths_R: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        """Its natural logarithm, row by row; at most 0. The gradient is the share of each unit in each frame.

        Every state is a pair of labels, in two forms: the last label just now heard, or a blank after it. Forward and
        backward sums are kept as shares of their frame's, whose logarithms are added up.

        Args:
            log_probs_RSP: natural logarithms, finite.
            lengths_R: valid frames of each row, at least 1.
        """
        with torch.no_grad():
            log_total_R, shares_RSP = self._forward_backward(log_probs_RSP.detach().float(), lengths_R)
        through_R = (log_probs_RSP * shares_RSP).sum((1, 2))
        return log_total_R + through_R - through_R.detach()

    def _forward_backward(self, log_probs_RSP: Tensor, lengths_R: Tensor) -> tuple[Tensor, Tensor]:
        onward_JXK = self._onward_JXK.to(log_probs_RSP.device)
        n_rows, n_frames = log_probs_RSP.shape[:2]
        probs_SRP = log_probs_RSP.exp().transpose(0, 1)
        valid_SR = torch.arange(n_frames, device=lengths_R.device).unsqueeze(1) < lengths_R
        state_JRX = onward_JXK.new_zeros(N_LABELS, n_rows, 2 * N_LABELS)
        state_JRX[START - 1, :, N_LABELS + START - 1] = 1.0
        log_total_R = onward_JXK.new_zeros(n_rows)
        forward, scales = [], []
        for frame in range(n_frames):
            probs_RP = probs_SRP[frame]
            heard_J, blank = probs_RP[:, 1:].t().unsqueeze(-1), probs_RP[:, :1]
            label_JRI, blank_JRI = state_JRX[..., :N_LABELS], state_JRX[..., N_LABELS:]
            arrived_KRJ = torch.bmm(state_JRX, onward_JXK).permute(2, 1, 0)
            new_JRX = torch.cat([(label_JRI + arrived_KRJ) * heard_J, (label_JRI + blank_JRI) * blank], -1)
            scale_R = new_JRX.sum((0, 2))
            state_JRX = new_JRX / scale_R.view(1, -1, 1)
            log_total_R = log_total_R + scale_R.log().masked_fill(~valid_SR[frame], 0.0)
            forward.append(state_JRX)
            scales.append(scale_R)
        shares_SRP = torch.zeros_like(probs_SRP)
        after_JRX = torch.ones_like(state_JRX)
        back_KJX = onward_JXK.transpose(1, 2)
        for frame in range(n_frames - 1, -1, -1):
            occupied_JRX = (forward[frame] * after_JRX).masked_fill(~valid_SR[frame].view(1, -1, 1), 0.0)
            shares_SRP[frame, :, 0] = occupied_JRX[..., N_LABELS:].sum((0, 2))
            shares_SRP[frame, :, 1:] = occupied_JRX[..., :N_LABELS].sum(2).t()
            probs_RP = probs_SRP[frame] / scales[frame].unsqueeze(-1)
            label_JRI = after_JRX[..., :N_LABELS] * probs_RP[:, 1:].t().unsqueeze(-1)
            blank_JRI = after_JRX[..., N_LABELS:] * probs_RP[:, :1]
            before_JRX = torch.bmm(label_JRI.permute(2, 1, 0), back_KJX)
            before_JRX[..., :N_LABELS] += label_JRI
            before_JRX += torch.cat([blank_JRI, blank_JRI], -1)
            after_JRX = torch.where(valid_SR[frame].view(1, -1, 1), before_JRX, after_JRX)
        return log_total_R, shares_SRP.transpose(0, 1)


def _interpolated(counts: Tensor, lower: Tensor) -> Tensor:
    """Counts along the last axis as probabilities, with those of a shorter history for what was never counted."""
    total, kinds = counts.sum(-1, keepdim=True), (counts > 0).sum(-1, keepdim=True)
    return (counts + kinds.clamp_min(1) * lower) / (total + kinds.clamp_min(1))
