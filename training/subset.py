"""A part of a corpus in which every speaker has the same say."""

import random
from collections import deque
from collections.abc import Sequence

from training.corpora import Utterance
from training.errors import CorpusError


def balanced_subset(utterances: Sequence[Utterance], hours: float, *, seed: int = 1) -> list[Utterance]:
    """About `hours` of a corpus, each speaker with the same seconds as far as they have them, in corpus order.

    The speaker who has the fewest seconds so far gives the next utterance, drawn without putting it back. A longer
    subset of the same corpus and seed contains a shorter one.

    Args:
        utterances: with known durations; those without a speaker count as one speaker.
        hours: the subset is over with the utterance that reaches them.
        seed: of the draw.

    Raises:
        CorpusError: `hours` is not positive, the corpus is shorter, or a duration is not known.
    """
    total_s = sum(utterance.duration_s for utterance in utterances)
    if not 0 < 3600 * hours <= total_s:
        raise CorpusError(f"{hours:g} h were asked for; it must be more than 0 and at most {total_s / 3600:.2f} h, all")
    if unknown := [utterance.id for utterance in utterances if utterance.duration_s <= 0]:
        raise CorpusError(f"the duration of {unknown[0]} is not known; write the manifest with `cepstra data prepare`")
    rng = random.Random(seed)
    waiting: dict[str, deque[int]] = {}
    for index in rng.sample(range(len(utterances)), len(utterances)):
        waiting.setdefault(utterances[index].speaker, deque()).append(index)
    given_s = dict.fromkeys(waiting, 0.0)
    chosen: list[int] = []
    while len(chosen) < len(utterances) and sum(given_s.values()) < 3600 * hours:
        speaker = min((name for name in waiting if waiting[name]), key=lambda name: given_s[name])
        chosen.append(waiting[speaker].popleft())
        given_s[speaker] += utterances[chosen[-1]].duration_s
    return [utterances[index] for index in sorted(chosen)]
