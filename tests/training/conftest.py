"""A corpus small enough to learn in seconds: each letter is a tone of its own."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from features.front_end import FrontEnd, FrontEndConfig
from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel, AcousticModelConfig
from model.checkpoint import Bundle
from model.tokenizer import CharacterTokenizer
from training.augment import AugmentConfig
from training.corpora import Utterance, write_manifest
from training.recipe import DataConfig, OptimizerConfig, Recipe

TONES_HZ = {"a": 400.0, "b": 900.0, "c": 1800.0, " ": 0.0}
LETTER_S = 0.2
TEXTS = ("abc", "cab a", "bca", "a b c", "cc a", "bab", "acb c", "b cab", "ca ab", "cba", "ab bc", "bb c")


def sing(text: str, *, seed: int = 0) -> np.ndarray:
    """Samples at 16 kHz in which every letter is heard as its tone."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(LETTER_S * 16_000)) / 16_000
    fade = np.hanning(len(time_s))
    tones = [0.3 * fade * np.sin(2 * np.pi * TONES_HZ[letter] * time_s) for letter in f" {text} "]
    samples = np.concatenate(tones)
    return (samples + rng.normal(0, 1e-3, len(samples))).astype(np.float32)


@pytest.fixture(scope="session")
def tones_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of twelve sung texts."""
    folder = tmp_path_factory.mktemp("tones")
    utterances = []
    for number, text in enumerate(TEXTS):
        path = folder / f"{number}.wav"
        samples = sing(text, seed=number)
        soundfile.write(path, samples, 16_000)
        utterances.append(Utterance(str(number), path, text.upper(), "tone", len(samples) / 16_000))
    write_manifest(utterances, folder / "tones.tsv")
    return folder / "tones.tsv"


@pytest.fixture(scope="session")
def tiny_recipe(tones_manifest: Path) -> Recipe:
    """A recipe that trains in a second or two a pass at most."""
    return Recipe(
        name="tiny",
        checkpoint_minutes=0.0,
        data=DataConfig(
            train=(str(tones_manifest),), dev=str(tones_manifest), max_batch_s=4.0, max_utterance_s=2.0, workers=0
        ),
        augment=AugmentConfig(speeds=(0.95, 1.0, 1.05), gain_db=3.0, freq_mask_bins=2, time_masks=1),
        front_end=FrontEndConfig(n_mels=16, f_max_hz=4000.0),
        acoustic_model=AcousticModelConfig(n_features=16, channels=4, hidden_size=24, n_layers=1, dropout=0.1),
        optimizer=OptimizerConfig(epochs=3, peak_lr=1e-2, ema_decay=0.9, precision="32-true"),
    )


@pytest.fixture
def tiny_bundle(tiny_recipe: Recipe) -> Bundle:
    """An untrained bundle of the tiny recipe's sizes."""
    torch.manual_seed(3)
    tokenizer = CharacterTokenizer()
    acoustic_model = AcousticModel(tiny_recipe.acoustic_model).eval()
    cmvn = GlobalCMVN(tiny_recipe.front_end.n_features)
    return Bundle("tiny", FrontEnd(tiny_recipe.front_end), cmvn, acoustic_model, tokenizer)
