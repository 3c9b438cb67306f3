"""Log-probs of a speaker, and of a network that is at a loss."""

import pytest
import torch
from torch import Tensor

from model.alignment import build_segments
from model.decoder import decode_greedy
from model.errors import OptionError
from model.rejection import RejectionConfig, no_speech_probability
from model.tokenizer import CharacterTokenizer

FRAME_S = 0.04
TOKENIZER = CharacterTokenizer()
SPEECH = "_t_h_e__c_a_t_ _s_a_t__o_n_ " * 4


def test_sure_letters_one_after_another_are_speech() -> None:
    assert probability(SPEECH, sureness=9.0) < 0.01


@pytest.mark.parametrize(
    ("path", "sureness"),
    [
        ("_" * 100, 9.0),  # nothing at all
        ("_" * 60 + "a_" + "_" * 60, 5.0),  # a letter in five seconds
        (SPEECH, 2.5),  # letters enough, but almost anything else as likely
    ],
)
def test_silence_rare_letters_and_guesses_are_none(path: str, sureness: float) -> None:
    assert probability(path, sureness=sureness) > 0.9


def test_the_more_sure_the_less_probable_is_silence() -> None:
    at = [probability(SPEECH, sureness=sureness) for sureness in (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)]
    assert at == sorted(at, reverse=True)
    assert at[0] > 0.9 > 0.1 > at[-1]


def test_a_short_segment_is_judged_with_what_is_around_it() -> None:
    """The same sure word, alone in faint noise, or a pause after a sentence."""
    pause = "_" * 20
    config = RejectionConfig(evidence_s=2.0)
    alone = segments(pause * 3 + "y_e_s" + pause * 3, [2.5] * 60 + [9.0] * 5 + [2.5] * 60, config)
    among = segments(SPEECH + pause + "y_e_s", [9.0] * (len(SPEECH) + 25), config)
    assert alone[-1] > among[-1]


@pytest.mark.parametrize("options", [{"threshold": 1.5}, {"threshold": -0.1}, {"evidence_s": -1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="threshold is"):
        RejectionConfig(**options)


def probability(path: str, *, sureness: float) -> float:
    return no_speech_probability(log_probs_along(path, [sureness] * len(path)), FRAME_S, RejectionConfig())


def segments(path: str, sureness: list[float], config: RejectionConfig) -> list[float]:
    log_probs_SV = log_probs_along(path, sureness)
    found = build_segments(
        decode_greedy(log_probs_SV), log_probs_SV, TOKENIZER, frame_s=FRAME_S, duration_s=1e9, rejection=config
    )
    return [segment.no_speech_prob for segment in found]


def log_probs_along(path: str, sureness: list[float]) -> Tensor:
    ids = [0 if character == "_" else TOKENIZER.encode(character)[0] for character in path]
    scale_S1 = torch.tensor(sureness).unsqueeze(1)
    return (torch.eye(TOKENIZER.vocabulary_size)[ids] * scale_S1).log_softmax(-1)
