import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training.corpora import Utterance, read_corpus
from training.dataset import SpeechDataset
from training.sampler import BatchPlan


def test_a_batch_holds_the_planned_utterances_padded_with_zeros(tones_manifest: Path) -> None:
    utterances = read_corpus(tones_manifest)
    targets = [[1] * (i + 1) for i in range(len(utterances))]
    batch = SpeechDataset(utterances, targets)[BatchPlan((((3,), 1.0), ((0,), 1.0)), 5)]
    assert batch.ids == ("3", "0")
    assert batch.lengths_B.tolist() == [round(utterances[i].duration_s * 16_000) for i in (3, 0)]
    assert batch.target_lengths_B.tolist() == [4, 1]
    assert batch.targets_BU.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert not batch.samples_BN[1, batch.lengths_B[1] :].any()
    assert batch.samples_BN[1, : batch.lengths_B[1]].abs().max() > 0.1


def test_speed_and_gain_are_applied_and_do_not_depend_on_the_batch(tones_manifest: Path) -> None:
    utterances = read_corpus(tones_manifest)
    targets = [[1]] * len(utterances)
    plans = [BatchPlan((((1,), 1.1), ((2,), 1.0)), 9), BatchPlan((((2,), 1.0),), 9)]
    dataset = SpeechDataset(utterances, targets, gain_db=6.0)
    both, alone = (dataset[plan] for plan in plans)
    length = int(alone.lengths_B[0])
    assert torch.equal(both.samples_BN[1, :length], alone.samples_BN[0])
    assert both.seeds[1] == alone.seeds[0]
    assert abs(int(both.lengths_B[0]) - utterances[1].duration_s * 16_000 / 1.1) <= 2
    plain = SpeechDataset(utterances, targets)[plans[1]]
    gain = float(alone.samples_BN.abs().max() / plain.samples_BN.abs().max())
    assert gain != 1.0
    assert 10 ** (-6 / 20) <= gain <= 10 ** (6 / 20)


def test_a_row_of_two_utterances_is_heard_as_one(tones_manifest: Path) -> None:
    utterances = read_corpus(tones_manifest)
    targets = [[2, 3]] * len(utterances)
    dataset = SpeechDataset(utterances, targets, boundary=7)
    joined = dataset[BatchPlan((((3, 0), 1.0), ((1,), 1.0)), 5)]
    assert joined.ids == ("3+0", "1")
    apart = dataset[BatchPlan((((3,), 1.0), ((0,), 1.0)), 5)]
    one_after_the_other = torch.cat(
        [row_N[:length] for row_N, length in zip(apart.samples_BN, apart.lengths_B, strict=True)]
    )
    assert torch.equal(joined.samples_BN[0, : joined.lengths_B[0]], one_after_the_other)
    assert joined.targets_BU.tolist() == [[2, 3, 7, 2, 3], [2, 3, 0, 0, 0]]
    assert joined.target_lengths_B.tolist() == [5, 2]


def test_the_cache_gives_the_same_samples_to_sixteen_bits(tones_manifest: Path, tmp_path: Path) -> None:
    utterances = read_corpus(tones_manifest)
    targets, plan = [[1]] * len(utterances), BatchPlan((((4,), 1.0),), 1)
    decoded = SpeechDataset(utterances, targets)[plan].samples_BN
    cached = SpeechDataset(utterances, targets, cache_dir=tmp_path / "cache")
    for _ in ("written", "read"):
        np.testing.assert_allclose(cached[plan].samples_BN, decoded, atol=0.5 / 32768 + 1e-9)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_unreadable_audio_is_named_and_the_rest_of_the_batch_is_kept(tones_manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF but nothing else")
    utterances = [*read_corpus(tones_manifest), Utterance("bad", tmp_path / "bad.wav", "A", "", 1.0)]
    targets = [[1]] * len(utterances)
    batch = SpeechDataset(utterances, targets)[BatchPlan((((12,), 1.0), ((0,), 1.0)), 1)]
    assert batch.ids == ("0",)
    assert len(batch.unreadable) == 1
    assert "bad.wav" in batch.unreadable[0]
    joined = SpeechDataset(utterances, targets)[BatchPlan((((0, 12, 1), 1.0),), 1)]
    assert joined.ids == ("0+1",)
    assert joined.target_lengths_B.tolist() == [3]
    nothing = SpeechDataset(utterances, targets)[BatchPlan((((12,), 1.0),), 1)]
    assert nothing.ids == ()


def test_audio_longer_than_its_corpus_says_is_named_and_left_out(tones_manifest: Path) -> None:
    utterances = read_corpus(tones_manifest)
    utterances[0] = replace(utterances[0], duration_s=utterances[0].duration_s - 0.5)
    utterances[1] = replace(utterances[1], duration_s=utterances[1].duration_s - 0.1)  # a codec's padding
    batch = SpeechDataset(utterances, [[1]] * len(utterances))[BatchPlan((((0,), 1.0), ((1,), 1.0)), 1)]
    assert batch.ids == ("1",)
    assert re.search(r"0\.wav: it has .* s, and its corpus says .* s", batch.unreadable[0])
