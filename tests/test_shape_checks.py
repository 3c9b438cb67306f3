"""Shape annotations hold while testing: `tests/__init__.py` switches their checking on."""

import pytest
import torch
from jaxtyping import TypeCheckError

from features.front_end import FrontEnd, FrontEndConfig
from features.normalization import GlobalCMVN
from model.alignment import SegmentConfig, build_segments
from model.decoder import decode_greedy
from model.errors import OptionError
from model.lstm import BidirectionalLSTM, flip_indices
from model.tokenizer import CharacterTokenizer


def test_a_wrong_number_of_axes_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="samples_BN"):
        FrontEnd(FrontEndConfig())(torch.zeros(1600), torch.tensor([1600]))
    with pytest.raises(TypeCheckError, match="log_probs_SV"):
        decode_greedy(torch.zeros(1, 5, 29))


def test_axes_of_one_name_must_agree() -> None:
    with pytest.raises(TypeCheckError, match="lengths_B"):
        GlobalCMVN(80)(torch.zeros(2, 5, 80), torch.tensor([5, 5, 5]))


def test_an_integer_tensor_is_no_float_tensor() -> None:
    with pytest.raises(TypeCheckError, match="features_BTF"):
        GlobalCMVN(80)(torch.zeros(1, 5, 80, dtype=torch.int64), torch.tensor([5]))


def test_a_result_of_a_wrong_shape_is_refused() -> None:
    layer = BidirectionalLSTM(3, 4)
    layer.hidden_size = 5  # now its annotation promises 10 outputs where it gives 8
    with pytest.raises(TypeCheckError, match="return"):
        layer(torch.zeros(1, 2, 3), flip_indices(torch.tensor([2]), 2))


def test_integers_pass_for_floats_as_they_do_for_the_type_checker() -> None:
    assert build_segments([], torch.zeros(0, 29), CharacterTokenizer(), frame_s=1, duration_s=1) == ()


def test_options_give_their_own_errors() -> None:
    with pytest.raises(OptionError, match="pause is -1"):
        SegmentConfig(pause_s=-1)
