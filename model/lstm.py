"""The long short-term memory: one cell gate by gate to teach from, and the bidirectional layer that the model runs.

Shape legend: B batch, T frames, D input size, H hidden size.

Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997, with the forget gate of
Gers, Schmidhuber and Cummins, "Learning to forget", Neural Computation 12(10), 2000; in both directions by Graves and
Schmidhuber, "Framewise phoneme classification with bidirectional LSTM", Neural Networks 18(5-6), 2005.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.errors import OptionError


@dataclass(frozen=True)
class LSTMStep:
    """All that happens inside the cell in one frame; each of shape (B, H).

    Attributes:
        input_gate_BH: how much of the candidate is written, 0..1.
        forget_gate_BH: how much of the old cell state is kept, 0..1.
        output_gate_BH: how much of the cell state is shown, 0..1.
        candidate_BH: what could be written, -1..1.
        cell_BH: the new cell state.
        hidden_BH: the new output, -1..1.
    """

    input_gate_BH: Tensor
    forget_gate_BH: Tensor
    output_gate_BH: Tensor
    candidate_BH: Tensor
    cell_BH: Tensor
    hidden_BH: Tensor


class LSTMCell(nn.Module):
    """One LSTM cell, written as in the textbook; equal to `torch.nn.LSTM` to 1e-6 (tested).

    For reading and for looking inside (`model.inspect`); `BidirectionalLSTM` is what runs.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.input_gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.forget_gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.output_gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(
        self, x_BD: Float[Tensor, "B D"], hidden_BH: Float[Tensor, "B H"], cell_BH: Float[Tensor, "B H"]
    ) -> LSTMStep:
        """One frame: input, previous output and previous cell state → every quantity of the step."""
        xh = torch.cat([x_BD, hidden_BH], dim=1)
        i = torch.sigmoid(self.input_gate(xh))
        f = torch.sigmoid(self.forget_gate(xh))
        o = torch.sigmoid(self.output_gate(xh))
        g = torch.tanh(self.candidate(xh))
        c = f * cell_BH + i * g
        h = o * torch.tanh(c)
        return LSTMStep(i, f, o, g, c, h)

    def run(self, x_BTD: Float[Tensor, "B T D"]) -> list[LSTMStep]:
        """All frames in order, from a zero state; one `LSTMStep` a frame."""
        hidden_BH = cell_BH = x_BTD.new_zeros(len(x_BTD), self.hidden_size)
        steps = []
        for x_BD in x_BTD.unbind(1):
            step = self(x_BD, hidden_BH, cell_BH)
            hidden_BH, cell_BH = step.hidden_BH, step.cell_BH
            steps.append(step)
        return steps

    @classmethod
    def from_torch(cls, lstm: nn.LSTM) -> "LSTMCell":
        """The cell with the weights of a one-layer, one-direction `torch.nn.LSTM`.

        Raises:
            OptionError: the LSTM has more layers or directions, no biases, or a projection.
        """
        if lstm.num_layers != 1 or lstm.bidirectional or not lstm.bias or lstm.proj_size:
            raise OptionError(f"{lstm} is not one cell; it must have one layer, one direction, biases, no projection")
        weights = lstm.state_dict()
        weights_4HX = torch.cat([weights["weight_ih_l0"], weights["weight_hh_l0"]], dim=1)
        cell = cls(lstm.input_size, lstm.hidden_size).to(weights_4HX)  # the same device and precision
        biases_4H = weights["bias_ih_l0"] + weights["bias_hh_l0"]
        gates = [cell.input_gate, cell.forget_gate, cell.candidate, cell.output_gate]  # torch's order: i, f, g, o
        for gate, weight_HX, bias_H in zip(gates, weights_4HX.chunk(4), biases_4H.chunk(4), strict=True):
            gate.load_state_dict({"weight": weight_HX, "bias": bias_H})
        return cell


class BidirectionalLSTM(nn.Module):
    """A forward and a backward LSTM whose outputs stand side by side.

    Rows of different lengths need no packing: the backward LSTM reads each row flipped within its own length, so
    padding comes last for both directions and never reaches a valid frame, and both run as whole padded batches on the
    fast paths of oneDNN and cuDNN. These have time first in memory; a batch that lies so already, as a transposed view,
    is not copied, and the outputs lie so too.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.forward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.backward_lstm = nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(
        self, x_BTD: Float[Tensor, "B T D"], flip_BT: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T {2*self.hidden_size}"]:
        """Run both directions.

        Args:
            x_BTD: input.
            flip_BT: `flip_indices` of the rows' lengths; the same for all layers, so made once by the caller.

        Returns:
            Outputs of the forward and of the backward LSTM, concatenated; arbitrary beyond each row's length.
        """
        forward_BTH, _ = self.forward_lstm(x_BTD)
        rows_N = _row_numbers(flip_BT)
        backward_BTH, _ = self.backward_lstm(_flip(x_BTD.transpose(0, 1), rows_N).transpose(0, 1))
        backward_TBH = _flip(backward_BTH.transpose(0, 1), rows_N)
        return torch.cat([forward_BTH.transpose(0, 1), backward_TBH], dim=-1).transpose(0, 1)


def flip_indices(lengths_B: Int[Tensor, " B"], n_frames: int) -> Int[Tensor, "B T"]:
    """Frame indices that reverse each row within its own length and leave its padding in place."""
    frames_T = torch.arange(n_frames, device=lengths_B.device)
    ends_B1 = lengths_B.unsqueeze(1)
    return torch.where(frames_T < ends_B1, ends_B1 - 1 - frames_T, frames_T)


def _row_numbers(flip_BT: Tensor) -> Tensor:
    """Where each row of (T, B, ·), written as one list of T × B rows, comes from when it is flipped."""
    n_rows = len(flip_BT)
    return (flip_BT.T * n_rows + torch.arange(n_rows, device=flip_BT.device)).flatten()


def _flip(x_TBD: Tensor, rows_N: Tensor) -> Tensor:
    flipped_TBD: Tensor = _Flip.apply(x_TBD, rows_N)  # type: ignore[no-untyped-call]  # torch leaves it without types
    return flipped_TBD


class _Flip(torch.autograd.Function):
    """Whole rows moved; back-propagated by the same move, since flipping twice changes nothing.

    `gather` moves number by number, and its gradient adds them up one by one: a tenth of a training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x_TBD: Tensor, rows_N: Tensor) -> Tensor:
        ctx.save_for_backward(rows_N)
        return x_TBD.flatten(0, 1).index_select(0, rows_N).view(x_TBD.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows_N,) = ctx.saved_tensors
        return gradients[0].flatten(0, 1).index_select(0, rows_N).view(gradients[0].shape), None
