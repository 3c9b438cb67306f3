"""From batch plans to tensors: decoded, disturbed, padded audio with targets.

Shape legend: B batch, N samples, U units.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from features.audio import SAMPLE_RATE_HZ, decode_audio
from features.errors import AudioError
from training.augment import change_speed
from training.channel import Channel
from training.corpora import Utterance
from training.sampler import BatchPlan, join_targets

LONGER_S = 0.25  # what a file may have beyond its stated duration: codecs pad


@dataclass(frozen=True)
class Batch:
    """Utterances side by side.

    Attributes:
        samples_BN: waveforms, float32 in about -1..1, zero-padded.
        lengths_B: valid samples of each row.
        targets_BU: unit indices, padded with 0.
        target_lengths_B: valid units of each row.
        ids: the utterances' ids; those that one row has one after the other are joined by `+`.
        seeds: for the random augmentation of each row.
        unreadable: `path: reason` of utterances that were planned but could not be read, and of noise and rooms that
            were drawn for others and could not.
    """

    samples_BN: Tensor
    lengths_B: Tensor
    targets_BU: Tensor
    target_lengths_B: Tensor
    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def audio_s(self) -> float:
        """Seconds of audio, padding not counted."""
        return float(self.lengths_B.sum()) / SAMPLE_RATE_HZ


class SpeechDataset(Dataset[Batch]):
    """From plans to batches: `dataset[plan]`. A loader's workers, once started, serve every pass of a run.

    Args:
        utterances: what the plans' indices refer to.
        targets: unit indices of each utterance.
        gain_db: largest random gain in dB, either way.
        channel: room, noise, band and codec that an utterance passes before the gain; None for none of them.
        cache_dir: where decoded audio is kept as 16-bit samples (115 MB an hour), or None to decode every time.
        boundary: the unit between two utterances of a row.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        targets: Sequence[Sequence[int]],
        *,
        gain_db: float = 0.0,
        channel: Channel | None = None,
        cache_dir: Path | None = None,
        boundary: int = 1,
    ) -> None:
        self._utterances, self._targets = utterances, targets
        self._gain_db, self._channel, self._cache_dir, self._boundary = gain_db, channel, cache_dir, boundary

    def __getitem__(self, plan: BatchPlan) -> Batch:
        rows, targets, ids, seeds, unreadable = [], [], [], [], []
        for items, speed in plan.items:
            rng = np.random.default_rng([plan.seed, items[0]])
            gain = 10 ** (rng.uniform(-self._gain_db, self._gain_db) / 20)
            heard = []
            for item in items:
                try:
                    heard.append((item, self._spoken(self._utterances[item])))
                except (AudioError, OSError) as error:
                    unreadable.append(f"{self._utterances[item].path}: {error}")
            if not heard:
                continue
            samples_N = change_speed(np.concatenate([samples_N for _, samples_N in heard]), speed, SAMPLE_RATE_HZ)
            if self._channel:
                samples_N, missed = self._channel(samples_N, (plan.seed, items[0]), self._samples)
                unreadable.extend(missed)
            rows.append(samples_N * np.float32(gain))
            targets.append(join_targets([self._targets[item] for item, _ in heard], self._boundary))
            ids.append("+".join(self._utterances[item].id for item, _ in heard))
            seeds.append(plan.seed + items[0])
        samples_BN = torch.zeros(len(rows), max(map(len, rows), default=0))
        targets_BU = torch.zeros(len(rows), max(map(len, targets), default=0), dtype=torch.long)
        for row, (samples_N, target) in enumerate(zip(rows, targets, strict=True)):
            samples_BN[row, : len(samples_N)] = torch.from_numpy(samples_N)
            targets_BU[row, : len(target)] = torch.tensor(target)
        return Batch(
            samples_BN,
            torch.tensor([len(row) for row in rows], dtype=torch.long),
            targets_BU,
            torch.tensor([len(target) for target in targets], dtype=torch.long),
            tuple(ids),
            tuple(seeds),
            tuple(unreadable),
        )

    def _spoken(self, utterance: Utterance) -> np.ndarray:
        samples_N = self._samples(utterance.path)
        duration_s = len(samples_N) / SAMPLE_RATE_HZ
        if duration_s > utterance.duration_s + LONGER_S and utterance.duration_s:  # a batch's memory is counted with it
            raise AudioError(f"it has {duration_s:.1f} s, and its corpus says {utterance.duration_s:.1f} s")
        return samples_N

    def _samples(self, path: Path) -> np.ndarray:
        if self._cache_dir is None:
            return decode_audio(path).samples_N
        stat = path.stat()
        key = hashlib.sha256(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:32]
        cached = self._cache_dir / f"{key}.npy"
        if not cached.exists():
            decoded_N = decode_audio(path).samples_N
            cached.parent.mkdir(parents=True, exist_ok=True)
            scratch = cached.with_suffix(f".{os.getpid()}.tmp")
            with scratch.open("wb") as stream:
                np.save(stream, np.clip(np.round(decoded_N * 32768), -32768, 32767).astype(np.int16))
            os.replace(scratch, cached)
        samples_N: np.ndarray = np.load(cached).astype(np.float32) / np.float32(32768)
        return samples_N
