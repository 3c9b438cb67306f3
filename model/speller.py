"""The speller: how what was heard as phones is written, learned from text.

Shape legend: B batch, S output frames, V vocabulary of characters, P phones, H pairs of frames, D width.

    phones → posteriors → pairs of frames → linear → N × [x + ReLU(linear(norm(x) at h − d, h, h + d))]
           → norm → linear → single frames, + share × characters → log-softmax

Hours of speech teach how words sound, but too few of them how they are spelled. What spells takes nothing but phones,
so a text is enough to train it (`training.speller`). It is a time-delay network: Waibel et al., "Phoneme recognition
using time-delay neural networks", IEEE ASSP 37(3), 1989. Text in the training of what else learns from speech alone:
Thomas et al., "Integrating text inputs for training and adapting RNN transducer ASR models", ICASSP 2022.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

DROPOUT = 0.1


class Speller(nn.Module):
    """From the log-probabilities of phones and characters to better ones of characters.

    Args:
        vocabulary_size: characters and blank, V.
        n_phones: phones and blank, P.
        size: width of its layers, D.
        n_layers: how many there are, N; the delays d are 1, 1, 2, 2, 3, 3 … pairs.

    Attributes:
        reach: how many frames to either side a frame's characters depend on.
    """

    def __init__(self, vocabulary_size: int, n_phones: int, size: int, n_layers: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(2 * n_phones, size)
        self.layers = nn.ModuleList(TimeDelayLayer(size, delay) for delay in delays(n_layers))
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, 2 * vocabulary_size)
        self.share = nn.Parameter(torch.tensor([0.5]))  # that the characters heard have, beside those spelled
        self.reach = 2 * sum(delays(n_layers)) + 1

    def forward(
        self,
        phones_BSP: Float[Tensor, "B S P"],
        lengths_B: Int[Tensor, " B"],
        letters_BSV: Float[Tensor, "B S V"] | None = None,
    ) -> Float[Tensor, "B S V"]:
        """Log-probabilities of characters.

        Args:
            phones_BSP: natural-log posteriors of phones.
            lengths_B: valid frames of each row; what stands beyond reaches no valid frame.
            letters_BSV: natural-log posteriors of characters; None where there was no audio, but text alone.
        """
        n_frames = phones_BSP.shape[1]
        heard_BSP = phones_BSP.exp().masked_fill(~_inside(n_frames, lengths_B), 0.0)
        heard_BSP = nn.functional.pad(heard_BSP, (0, 0, 0, n_frames % 2))
        n_rows, n_even, n_phones = heard_BSP.shape
        x_BHD = self.inputs(heard_BSP.reshape(n_rows, n_even // 2, 2 * n_phones))
        inside_BH1 = _inside(x_BHD.shape[1], (lengths_B + 1) // 2)
        for layer in self.layers:
            x_BHD = layer(x_BHD, inside_BH1)
        spelled_BHV: Tensor = self.head(self.norm(x_BHD)).float()
        spelled_BSV = spelled_BHV.reshape(n_rows, n_even, -1)[:, :n_frames]
        if letters_BSV is not None:
            spelled_BSV = spelled_BSV + self.share * letters_BSV
        return spelled_BSV.log_softmax(-1)


class TimeDelayLayer(nn.Module):
    """x + dropout(ReLU(linear of norm(x) at three moments)), the width kept."""

    def __init__(self, size: int, delay: int) -> None:
        super().__init__()
        self.delay = delay
        self.norm = nn.LayerNorm(size)
        self.linear = nn.Linear(3 * size, size)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x_BHD: Tensor, inside_BH1: Tensor) -> Tensor:
        """One layer; `inside_BH1` says which pairs are valid."""
        n_pairs, delay = x_BHD.shape[1], self.delay
        normed_BHD = self.norm(x_BHD).masked_fill(~inside_BH1, 0.0)
        padded_BXD = nn.functional.pad(normed_BHD, (0, 0, delay, delay))
        seen = torch.cat([padded_BXD[:, :n_pairs], normed_BHD, padded_BXD[:, 2 * delay :]], -1)
        return x_BHD + torch.as_tensor(self.dropout(torch.relu(self.linear(seen))))


def delays(n_layers: int) -> list[int]:
    """How many pairs of frames each layer looks to either side."""
    return [1 + layer // 2 for layer in range(n_layers)]


def _inside(n_frames: int, lengths_B: Tensor) -> Tensor:
    """(B, n_frames, 1), true within each length."""
    return (torch.arange(n_frames, device=lengths_B.device) < lengths_B.unsqueeze(1)).unsqueeze(-1)
