"""Long audio: `make prove-long-audio` in short, words at the seams of windows, and what silence costs."""

import copy
import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from features.audio import SAMPLE_RATE_HZ, Waveform, decode_audio
from model.cancellation import CancelToken
from model.checkpoint import Bundle, save_bundle
from model.chunking import ChunkingConfig
from model.runtime import Runtime, TorchRuntime, make_runtime
from model.runtime_names import RuntimeName
from model.transcriber import Transcriber
from model.transcript import Word
from model.windows import WindowCutter
from tests.conftest import SpokenClip
from tests.model.conftest import make_bundle, shipped_bundle, tiny_bundle
from training.corpora import normalize_transcript
from training.paired import compare_words

__all__ = ["make_bundle", "shipped_bundle", "tiny_bundle"]  # fixtures of the model's tests, used here too

ROOT = Path(__file__).resolve().parents[1]
MOST_APART = 0.003  # of WER
NEAR_S = 0.5  # of a seam: what is cut or doubled there


def test_ten_minutes_take_the_memory_of_three(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The network's part is tiny, so that ten minutes of decoding show what is kept; other formats by the proof alone.

    The samples of the seven minutes more would be 27 MB. glibc returns large blocks at once here and has one heap: else
    what it keeps for later comes to more in one run than in another.
    """
    save_bundle(tiny_bundle, tmp_path / "bundle")
    proof = [sys.executable, str(ROOT / "scripts" / "prove-long-audio"), "--bundle", str(tmp_path / "bundle")]
    limits = ["--short-s", "180", "--long-s", "600", "--most-mb", "25", "--formats", "flac", "--runtime", "torch"]
    allocator = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=131072"}
    done = subprocess.run([*proof, *limits], cwd=ROOT, env={**os.environ, **allocator}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MB for 600 s instead of 180 s" in done.stdout


@pytest.mark.timeout(1200)  # 2300 s of speech go through the network
def test_joined_clips_have_the_words_of_the_clips_and_of_one_pass(
    shipped_bundle: Bundle, dev_clean: list[SpokenClip]
) -> None:
    """`make prove-seams` in short: an eighth of the words, as they are served.

    The proof holds all words of dev-clean to the bare 0.3 points. Of 2000 words two equally good ways differ by 0.6
    points by chance; what chance does not explain has to be at most 0.3 points. What seams alone do is known better, to
    0.2 points: how much more often words near them differ from one pass than words elsewhere.
    """
    readers: dict[str, list[SpokenClip]] = defaultdict(list)
    for clip in dev_clean[::8]:
        readers[clip.id.split("-")[0]].append(clip)
    runtime = make_runtime(shipped_bundle.acoustic_model, training=shipped_bundle.training)
    in_windows = Transcriber(shipped_bundle, runtime=runtime)
    in_one = copy.copy(in_windows)  # laying out the lexicon takes a while
    in_one.chunking = ChunkingConfig(window_s=1000.0)
    references, alone, windows, whole = [], list[str](), list[str](), list[str]()
    changes = Changes()
    for clips in readers.values():
        waveforms = [decode_audio(clip.path) for clip in clips]
        joined = Waveform(np.concatenate([waveform.samples_N for waveform in waveforms]))
        references.append(normalize_transcript(" ".join(clip.transcript for clip in clips)))
        alone.append(" ".join(in_windows.transcribe(waveform).text for waveform in waveforms))
        cut, uncut = in_windows.transcribe(joined), in_one.transcribe(joined)
        windows.append(cut.text)
        whole.append(uncut.text)
        changes.add(cut.words, uncut.words, seams_s(in_windows, joined))
    assert windows != whole
    assert windows != alone
    for other in (alone, whole):
        difference = compare_words(references, windows, other)
        print(difference)  # shown where it fails
        assert difference.words > 1900
        assert difference.chance < 0.01
        assert difference.rate - 2 * difference.chance <= MOST_APART, difference
    against_alone = compare_words(references, windows, alone)
    assert against_alone.rate + 2 * against_alone.chance >= -MOST_APART, against_alone
    print(changes)
    assert changes.near_words > 100
    assert changes.chance < 0.0025
    assert changes.excess - changes.chance <= MOST_APART, changes


@dataclass
class Changes:
    """Words that windows and one pass do not share, near seams and elsewhere."""

    near_words: int = 0
    near_changed: int = 0
    other_words: int = 0
    other_changed: int = 0

    def add(self, cut: Sequence[Word], uncut: Sequence[Word], at_s: Sequence[float]) -> None:
        matcher = SequenceMatcher(None, [word.text for word in cut], [word.text for word in uncut], autojunk=False)
        blocks = matcher.get_matching_blocks()
        for words, kept in (
            (cut, {place for block in blocks for place in range(block.a, block.a + block.size)}),
            (uncut, {place for block in blocks for place in range(block.b, block.b + block.size)}),
        ):
            for place, word in enumerate(words):
                if any(word.start_s - NEAR_S < seam_s < word.end_s + NEAR_S for seam_s in at_s):
                    self.near_words, self.near_changed = self.near_words + 1, self.near_changed + (place not in kept)
                else:
                    self.other_words, self.other_changed = (
                        self.other_words + 1,
                        self.other_changed + (place not in kept),
                    )

    @property
    def expected(self) -> float:
        """How many words near seams were changed if seams changed nothing."""
        return self.other_changed / self.other_words * self.near_words

    @property
    def excess(self) -> float:
        """Words that seams changed, as a share of all words."""
        return (self.near_changed - self.expected) / (self.near_words + self.other_words)

    @property
    def chance(self) -> float:
        """Standard error of that: words change in pairs, one of each text."""
        return math.sqrt(2 * self.expected) / (self.near_words + self.other_words)


def seams_s(transcriber: Transcriber, waveform: Waveform) -> list[float]:
    """Where one window's frames follow another's, seconds."""
    samples_per_frame = round(transcriber.frame_s * SAMPLE_RATE_HZ)
    cutter = WindowCutter(SAMPLE_RATE_HZ, samples_per_frame, transcriber.chunking, transcriber.detection)
    windows = [*cutter.feed(waveform.samples_N), *cutter.flush()]
    return [
        after.first_frame * transcriber.frame_s
        for before, after in pairwise(windows)
        if before.keep_frames is not None and before.first_frame + before.keep_frames == after.first_frame
    ]


@pytest.mark.parametrize("level", [0.0, 1e-3], ids=["digital silence", "a room's noise"])
def test_hours_of_silence_are_not_given_to_the_network(tiny_bundle: Bundle, clips_folder: Path, level: float) -> None:
    """Two sentences in twenty minutes: their windows, and no more."""
    sentence_N = decode_audio(clips_folder / "train.flac").samples_N
    silence_N = np.random.default_rng(0).normal(0, level, 400 * SAMPLE_RATE_HZ).astype(np.float32)
    counted = Counted(TorchRuntime(tiny_bundle.acoustic_model))
    transcriber = Transcriber(tiny_bundle, runtime=counted)
    shares: list[float] = []
    waveform = Waveform(np.concatenate([silence_N, sentence_N, silence_N, sentence_N, silence_N]))
    transcriber.transcribe(waveform, progress=shares.append)
    assert len(counted.windows_s) == 2
    assert sum(counted.windows_s) < 2 * (len(sentence_N) / SAMPLE_RATE_HZ + 3)
    assert shares == sorted(shares)  # told how far it is while nothing is computed
    assert len(shares) > 60
    assert transcriber.transcribe(Waveform(silence_N)).text == ""
    assert len(counted.windows_s) == 2


class Counted:
    """A runtime that notes how many seconds each window has that it is given."""

    name: RuntimeName = "torch"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.windows_s: list[float] = []

    def __call__(
        self, features_BTF: Tensor, lengths_B: Tensor, cancelled: CancelToken | None = None
    ) -> tuple[Tensor, Tensor]:
        self.windows_s.append(float(torch.as_tensor(lengths_B).sum()) / 100)
        return self._runtime(features_BTF, lengths_B, cancelled)
