"""A bundle with random weights: small enough to run in milliseconds, and never silent."""

from collections.abc import Callable

import pytest
import torch

from features.front_end import FrontEnd, FrontEndConfig
from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel, AcousticModelConfig
from model.checkpoint import Bundle, load_bundle
from model.shipped import SHIPPED_BUNDLE
from model.tokenizer import CharacterTokenizer
from model.transcriber import Transcriber

BundleMaker = Callable[..., Bundle]


@pytest.fixture(scope="session")
def make_bundle() -> BundleMaker:
    """`make_bundle(seed)` gives other weights for every seed; further arguments go to `AcousticModelConfig`."""

    def make(seed: int = 0, **options: object) -> Bundle:
        tokenizer = CharacterTokenizer()
        sizes = {"channels": 4, "hidden_size": 16, "n_layers": 2, "vocabulary_size": tokenizer.vocabulary_size}
        with torch.random.fork_rng():
            torch.manual_seed(3 + seed)
            front_end = FrontEnd(FrontEndConfig())
            cmvn = GlobalCMVN(front_end.config.n_features)
            cmvn.get_buffer("mean_F").normal_(-8, 1)
            cmvn.get_buffer("std_F").uniform_(2, 4)
            model = AcousticModel(AcousticModelConfig(**(sizes | options)))  # type: ignore[arg-type]  # tests choose
            model.head.weight.data.mul_(20)  # decided enough to spell something
            model.head.bias.data[:2] += 6  # with blanks and spaces between
        model.eval().requires_grad_(False)
        return Bundle("tiny", front_end, cmvn, model, tokenizer, {"hours": 0.5, "wer": {"dev": 1.0}}, 1_700_000_000)

    return make


@pytest.fixture(scope="session")
def tiny_bundle(make_bundle: BundleMaker) -> Bundle:
    """The bundle of seed 0."""
    return make_bundle(0)


@pytest.fixture(scope="session")
def shipped_bundle() -> Bundle:
    """The bundle that this repository ships."""
    return load_bundle(SHIPPED_BUNDLE)


@pytest.fixture(scope="session")
def shipped_transcriber(shipped_bundle: Bundle) -> Transcriber:
    """With its language model, whose lexicon takes a while to lay out; nobody changes it."""
    return Transcriber(shipped_bundle)
