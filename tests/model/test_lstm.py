"""The taught cell and the layer that runs, each against `torch.nn.LSTM`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from model.errors import OptionError
from model.lstm import BidirectionalLSTM, LSTMCell, flip_indices


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("input_size", "hidden_size", "n_frames", "dtype", "limit"),
    [
        (1, 1, 1, torch.float32, 1e-6),
        (3, 5, 40, torch.float32, 1e-6),
        (80, 64, 25, torch.float32, 1e-6),
        (160, 128, 20, torch.float32, 1e-6),
        (512, 256, 10, torch.float64, 1e-12),  # the trained size, where sums of 768 float32 round off 1e-6 themselves
    ],
)
def test_the_cell_equals_torchs_lstm(
    input_size: int, hidden_size: int, n_frames: int, dtype: torch.dtype, limit: float, seed: int
) -> None:
    torch.manual_seed(seed)
    lstm = nn.LSTM(input_size, hidden_size, batch_first=True, dtype=dtype)
    x_BTD = torch.randn(3, n_frames, input_size, dtype=dtype)
    expected_BTH, (_, expected_cell_1BH) = lstm(x_BTD)
    steps = LSTMCell.from_torch(lstm).run(x_BTD)
    assert len(steps) == n_frames
    assert_within(torch.stack([step.hidden_BH for step in steps], dim=1), expected_BTH, limit)
    assert_within(steps[-1].cell_BH, expected_cell_1BH[0], limit)


def test_the_cell_computes_the_six_textbook_equations() -> None:
    torch.manual_seed(3)
    cell = LSTMCell(input_size=4, hidden_size=3)
    x_BD, h_BH, c_BH = torch.randn(2, 4), torch.randn(2, 3), torch.randn(2, 3)
    with torch.no_grad():
        step = cell(x_BD, h_BH, c_BH)

    def affine(gate: nn.Linear) -> np.ndarray:
        """W · [x, h] + b of every row and unit, term by term."""
        weight, bias = gate.weight.detach().double().numpy(), gate.bias.detach().double().numpy()
        xh = np.concatenate([x_BD.double().numpy(), h_BH.double().numpy()], axis=1)
        return np.array(
            [
                [sum(weight[unit, k] * row[k] for k in range(len(row))) + bias[unit] for unit in range(len(bias))]
                for row in xh
            ]
        )

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-z)))

    i = sigmoid(affine(cell.input_gate))
    f = sigmoid(affine(cell.forget_gate))
    o = sigmoid(affine(cell.output_gate))
    g = np.tanh(affine(cell.candidate))
    c = f * c_BH.double().numpy() + i * g
    h = o * np.tanh(c)
    actual = (step.input_gate_BH, step.forget_gate_BH, step.output_gate_BH, step.candidate_BH, step.cell_BH)
    for tensor, expected in zip((*actual, step.hidden_BH), (i, f, o, g, c, h), strict=True):
        np.testing.assert_allclose(tensor.double().numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"num_layers": 2}, {"bidirectional": True}, {"bias": False}, {"proj_size": 2}], ids=str
)
def test_an_lstm_that_is_not_one_cell_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="is not one cell"):
        LSTMCell.from_torch(nn.LSTM(3, 4, **options))


@pytest.mark.parametrize("lengths", [[1], [7], [7, 1], [1, 7, 4], [5, 5, 5], [9, 30, 2, 17, 1, 30]])
@pytest.mark.parametrize(("input_size", "hidden_size"), [(3, 2), (64, 48)])
def test_the_layer_equals_torchs_packed_bidirectional_lstm(
    lengths: list[int], input_size: int, hidden_size: int
) -> None:
    torch.manual_seed(0)
    reference = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=True)
    layer = with_weights_of(reference)
    x_BTD = torch.randn(len(lengths), max(lengths), input_size)
    lengths_B = torch.tensor(lengths)
    packed = pack_padded_sequence(x_BTD, lengths_B, batch_first=True, enforce_sorted=False)
    expected_BTX, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    actual_BTX = layer(x_BTD, flip_indices(lengths_B, x_BTD.shape[1]))
    for row, length in enumerate(lengths):
        assert_within(actual_BTX[row, :length], expected_BTX[row, :length], 1e-6)


def test_the_layer_learns_as_torchs_does() -> None:
    """Gradients of weights and input too are those of the packed reference."""
    torch.manual_seed(1)
    reference = nn.LSTM(5, 4, batch_first=True, bidirectional=True)
    layer = with_weights_of(reference)
    lengths_B = torch.tensor([6, 3, 1])
    x_BTD = torch.randn(3, 6, 5, requires_grad=True)
    packed = pack_padded_sequence(x_BTD, lengths_B, batch_first=True, enforce_sorted=False)
    expected_BTX, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    weights_BTX = torch.randn(3, 6, 8) * (torch.arange(6) < lengths_B.unsqueeze(1)).unsqueeze(-1)
    actual_BTX = layer(x_BTD, flip_indices(lengths_B, 6))
    names, theirs = zip(*reference.named_parameters(), strict=True)
    ours = [layer.get_parameter(our_name(name)) for name in names]
    expected = torch.autograd.grad((expected_BTX * weights_BTX).sum(), [x_BTD, *theirs])
    actual = torch.autograd.grad((actual_BTX * weights_BTX).sum(), [x_BTD, *ours])
    for gradient, expected_gradient in zip(actual, expected, strict=True):
        assert_within(gradient, expected_gradient, 1e-5)


def test_flip_reverses_each_row_within_its_length() -> None:
    flip_BT = flip_indices(torch.tensor([4, 2, 0]), 4)
    assert flip_BT.tolist() == [[3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 5))
def test_flipping_twice_changes_nothing(lengths: list[int], padding: int) -> None:
    n_frames = max(lengths) + padding
    flip_BT = flip_indices(torch.tensor(lengths), n_frames)
    assert torch.equal(flip_BT.gather(1, flip_BT), torch.arange(n_frames).expand(len(lengths), -1))


def with_weights_of(reference: nn.LSTM) -> BidirectionalLSTM:
    layer = BidirectionalLSTM(reference.input_size, reference.hidden_size)
    layer.load_state_dict({our_name(name): weight for name, weight in reference.state_dict().items()})
    return layer


def our_name(name: str) -> str:
    direction = "backward_lstm" if name.endswith("_reverse") else "forward_lstm"
    return f"{direction}.{name.removesuffix('_reverse')}"


def assert_within(actual: Tensor, expected: Tensor, limit: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=limit)
