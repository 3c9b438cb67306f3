"""A corpus through a lossy codec, once and for all.

What a recogniser hears has often been an MP3, and a network that was trained without hears it badly. Encoding while one
trains (`augment.codec_probability`) is new in every pass and costs 30 ms for 10 s of audio; this costs that once.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from features.audio import SAMPLE_RATE_HZ, decode_audio
from features.errors import AudioError
from training.codec import CODECS, MAX_KBPS, MIN_KBPS, Codec, recode
from training.corpora import Utterance, file_stem, fingerprint, reject
from training.errors import RecipeError


def recode_corpus(
    utterances: Sequence[Utterance],
    folder: str | os.PathLike[str],
    *,
    codec: Codec,
    kbps: Sequence[int],
    share: float = 1.0,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Utterance]:
    """Encode and decode some of the utterances and write them as FLAC.

    Args:
        utterances: all that go into the new corpus.
        folder: where the audio is written; what a run before has made of the same files is not made again.
        codec: `mp3` or `opus`.
        kbps: bit rates in kbit/s, of which one is drawn for each utterance.
        share: how many of the utterances are encoded, 0..1; which ones is drawn for each by its id and the seed.
        seed: of both draws.
        progress: called with the utterances done and the utterances in all.

    Returns:
        All of them, in their order; what is not encoded refers to the audio it had.

    Raises:
        RecipeError: the codec is unknown, or share or bit rate lie outside their ranges.
        CorpusError: two utterances have the same id, or more than 1 % cannot be read.
    """
    if codec not in CODECS:
        raise RecipeError(f"the codec is {codec!r}; it must be one of {', '.join(CODECS)}")
    if not 0 <= share <= 1:
        raise RecipeError(f"the share to encode is {share:g}; it must lie in 0..1")
    if not kbps or not all(MIN_KBPS <= rate <= MAX_KBPS for rate in kbps):
        raise RecipeError(f"the bit rates are {list(kbps)}; they must lie in {MIN_KBPS}..{MAX_KBPS} kbit/s")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    recoded, bad, seen = [], [], set[str]()
    for done, utterance in enumerate(utterances, 1):
        rng = random.Random(f"{seed} {utterance.id}")
        if rng.random() >= share:
            recoded.append(utterance)
        elif utterance.id in seen:
            bad.append(f"{utterance.id}: another utterance has this id")
        else:
            seen.add(utterance.id)
            try:
                rate, stat = rng.choice(list(kbps)), utterance.path.stat()
                made_of = (str(utterance.path.resolve()), stat.st_size, stat.st_mtime_ns, codec, rate)
                path = target / f"{file_stem(utterance.id)}-{fingerprint(*made_of)}.flac"
                _write(utterance.path, path, codec, rate)
                recoded.append(replace(utterance, path=path))
            except (AudioError, OSError) as error:
                bad.append(f"{utterance.path}: {error}")
        if progress:
            progress(done, len(utterances))
    reject("audio that cannot be encoded", bad, len(utterances))
    return recoded


def _write(source: Path, path: Path, codec: Codec, kbps: int) -> None:
    if path.exists():
        return
    samples_N = recode(decode_audio(source).samples_N, codec, kbps)
    scratch = path.with_suffix(".tmp.flac")
    soundfile.write(scratch, np.clip(samples_N, -1, 1), SAMPLE_RATE_HZ)
    scratch.replace(path)
