"""Words that the network heard where nobody spoke, and how they are told from speech.

Shape legend: S output frames, V vocabulary.

A search with a language model finds words in anything, and even the best unit of a frame is a letter now and then in a
bark or in a tune. But speech gives itself away in the log-probs, whatever the weights: letters follow each other about
ten times a second, the network is sure of each, and sure of the blanks between. In other sounds letters are rare, or
the posteriors are spread. Those three, weighed by logistic regression, are the probability that nobody spoke.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from model.errors import OptionError
from model.tokenizer import BLANK_ID


@dataclass(frozen=True)
class RejectionConfig:
    """How the evidence is weighed.

    Fitted on whole clips, with the log-probs of a network of 74 % word errors: dev-clean against ESC-10, which has
    barking, crying, clocks and rain. With a network of 60 % the same weights keep the same clips apart.

    Attributes:
        letter_rate: weight of the letters a second on the best path.
        certainty: weight of their mean log-posterior, a number from -3 to 0.
        entropy: weight of the mean entropy of a frame, nats.
        bias: added to the three.
        shortest_s: shorter audio counts as this long, since one letter in half a second is not two a second.
        evidence_s: least seconds that are looked at; a short segment is judged with what is around it.
        threshold: segments with a higher probability that nobody spoke are dropped, 0..1.
    """

    letter_rate: float = 1.32
    certainty: float = 12.0
    entropy: float = -5.7
    bias: float = 1.2
    shortest_s: float = 2.0
    evidence_s: float = 4.0
    threshold: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1 or not self.evidence_s >= 0 or not self.shortest_s >= 0:
            raise OptionError(
                f"the threshold is {self.threshold}, the evidence {self.evidence_s} s and the shortest audio "
                f"{self.shortest_s} s; 0 to 1 and at least 0 are needed"
            )


def no_speech_probability(log_probs_SV: Float[Tensor, "S V"], frame_s: float, config: RejectionConfig) -> float:
    """How probable it is that nobody speaks in these frames, 0..1.

    Args:
        log_probs_SV: natural-log posteriors.
        frame_s: seconds from one frame to the next.
        config: the weights.
    """
    best_S, path_S = log_probs_SV.max(-1)
    in_letter_S = path_S != BLANK_ID
    if not bool(in_letter_S.any()):
        return 1.0
    begins_S = in_letter_S.clone()
    begins_S[1:] &= path_S[1:] != path_S[:-1]
    letters_a_second = float(begins_S.sum()) / max(len(path_S) * frame_s, config.shortest_s)
    certainty = float(best_S[in_letter_S].mean())
    entropy = float(-(log_probs_SV.exp() * log_probs_SV.clamp_min(-100.0)).sum(-1).mean())
    logit = (
        config.bias + config.letter_rate * letters_a_second + config.certainty * certainty + config.entropy * entropy
    )
    return 1 / (1 + math.exp(min(logit, 700.0)))
