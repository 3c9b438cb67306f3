"""Words that the network heard where nobody spoke, and how they are told from speech.

Shape legend: S output frames, V vocabulary.

A search with a language model finds words in anything, and even the best unit of a frame is a letter now and then in a
bark or in a tune. But speech gives itself away in the log-probs, whatever the weights: letters follow each other about
ten times a second, the network is sure of each, and sure of the blanks between; and what is said uses the whole
alphabet, where a tune brings the same few letters again and again. Weighed by logistic regression, that is the
probability that nobody spoke. `cepstra tune-rejection` finds the weights for a bundle.
"""

import math
from dataclasses import astuple, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.errors import OptionError
from model.tokenizer import BLANK_ID

FEW_LETTERS = 20  # as many are taken to be able to be all different


@dataclass(frozen=True)
class Evidence:
    """What the log-probs of some frames tell.

    Attributes:
        letter_rate: letters a second on the best path.
        certainty: their mean log-posterior, about -3 to 0.
        entropy: mean entropy of a frame, nats.
        blank_entropy: mean entropy of the frames whose best unit is the blank, nats.
        variety: entropy of which letters there are, as a share of what as many letters could have, 0..1.
        letter_frames: mean frames in which a letter stays the best unit.
    """

    letter_rate: float
    certainty: float
    entropy: float
    blank_entropy: float
    variety: float
    letter_frames: float


@dataclass(frozen=True)
class RejectionConfig:
    """How the evidence is weighed; the defaults were fitted to networks of 60 to 74 % word errors.

    Attributes:
        letter_rate, certainty, entropy, blank_entropy, variety, letter_frames: weights of the `Evidence`.
        bias: added to them.
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
    blank_entropy: float = 0.0
    variety: float = 0.0
    letter_frames: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in astuple(self)):
            raise OptionError(f"the weights of evidence have to be finite numbers: {self}")
        if not (0 <= self.threshold <= 1 and 0 <= self.evidence_s <= 3600 and 0 <= self.shortest_s <= 3600):
            raise OptionError(
                f"the threshold is {self.threshold}, the evidence {self.evidence_s} s and the shortest audio "
                f"{self.shortest_s} s; 0 to 1 and 0 to 3600 are possible"
            )


def no_speech_probability(log_probs_SV: Float[Tensor, "S V"], frame_s: float, config: RejectionConfig) -> float:
    """How probable it is that nobody speaks in these frames, 0..1.

    Args:
        log_probs_SV: natural-log posteriors.
        frame_s: seconds from one frame to the next.
        config: the weights.
    """
    found = evidence(log_probs_SV, frame_s, config.shortest_s)
    if found is None:
        return 1.0
    logit = (
        config.bias
        + config.letter_rate * found.letter_rate
        + config.certainty * found.certainty
        + config.entropy * found.entropy
        + config.blank_entropy * found.blank_entropy
        + config.variety * found.variety
        + config.letter_frames * found.letter_frames
    )
    return 1 / (1 + math.exp(min(logit, 700.0)))


def evidence(log_probs_SV: Float[Tensor, "S V"], frame_s: float, shortest_s: float) -> Evidence | None:
    """What the frames tell; None where no letter is the best unit of any.

    Args:
        log_probs_SV: natural-log posteriors.
        frame_s: seconds from one frame to the next.
        shortest_s: as in `RejectionConfig`.
    """
    best_S, path_S = log_probs_SV.max(-1)
    in_letter_S = path_S != BLANK_ID
    n_in_letter = int(in_letter_S.sum())
    if n_in_letter == 0:
        return None
    begins_S = in_letter_S.clone()
    begins_S[1:] &= path_S[1:] != path_S[:-1]
    n_letters = int(begins_S.sum())
    entropy_S = -(log_probs_SV.exp() * log_probs_SV.clamp_min(-100.0)).sum(-1)
    blank_entropy = float(entropy_S[~in_letter_S].mean()) if n_in_letter < len(path_S) else float(entropy_S.mean())
    shares = torch.unique(path_S[begins_S], return_counts=True)[1].double() / n_letters
    most = math.log(min(n_letters, FEW_LETTERS))
    return Evidence(
        letter_rate=n_letters / max(len(path_S) * frame_s, shortest_s),
        certainty=float(best_S[in_letter_S].mean()),
        entropy=float(entropy_S.mean()),
        blank_entropy=blank_entropy,
        variety=float(-(shares * shares.log()).sum()) / most if most > 0 else 1.0,
        letter_frames=n_in_letter / n_letters,
    )


def surroundings(n_frames: int, begin: int, end: int, least: int) -> tuple[int, int]:
    """The frames from `begin` to `end`, and as many before and after as make `least`, as far as there are any."""
    missing = max(0, least - (end - begin))
    begin = max(0, min(begin - missing // 2, n_frames - least))
    return begin, min(n_frames, max(end, begin + least))
