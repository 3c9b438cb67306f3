"""Subwords are learned as the library learns them, kept by a run, and served by its bundle."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer as Reference
from torch import Tensor

from features.audio import Waveform
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.language_model import BeamSearchConfig, LanguageModel
from model.runtime_names import RuntimeName
from model.tokenizer import CharacterTokenizer, SubwordTokenizer
from model.transcriber import Transcriber
from tests.arpa import word_list_arpa
from tests.training.conftest import TEXTS, sing
from training.errors import RecipeError
from training.progress import ProgressReport
from training.recipe import Recipe, UnitsConfig, build_recipe
from training.trainer import train
from training.units import TOKENIZER_FILE, learn_subwords, tokenizer_of_run

SIZE = 32
SENTENCES = [
    "the cat sat on the mat and the hat",
    "that is what the bat said to the rat at the gate",
    "she sells sea shells by the sea shore's shade",
]


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    """The tiny recipe with subwords."""
    return replace(
        tiny_recipe,
        units=UnitsConfig("bpe", SIZE),
        acoustic_model=replace(tiny_recipe.acoustic_model, vocabulary_size=SIZE + 1),
    )


def test_a_text_is_cut_as_the_library_cuts_it() -> None:
    tokenizer = learn_subwords(SENTENCES, 36)
    assert tokenizer == learn_subwords(SENTENCES, 36)
    assert tokenizer.vocabulary_size == 37
    reference = Reference.from_str(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [],
                "normalizer": None,
                "pre_tokenizer": {"type": "WhitespaceSplit"},
                "post_processor": None,
                "decoder": None,
                "model": {
                    "type": "BPE",
                    "vocab": {unit: index for index, unit in enumerate(tokenizer.units) if unit != " "},
                    "merges": [list(pair) for pair in tokenizer.merges],
                },
            }
        )
    )
    for sentence in [*SENTENCES, "hesitate at the theatre", "shhh thethethe"]:
        units = [tokenizer.decode([index]) for index in tokenizer.encode(sentence)]
        assert [unit for unit in units if unit != " "] == reference.encode(sentence).tokens
        assert "".join(units) == sentence
    assert any(len(unit) > 2 for unit in tokenizer.units)


def test_too_little_text_for_so_many_units_is_said() -> None:
    with pytest.raises(RecipeError, match=r"units.size is 500, and the training transcripts have pairs for \d+ only"):
        learn_subwords(SENTENCES, 500)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"kind": "words"}, "kind is 'words'; it must be 'characters' or 'bpe'"),
        ({"kind": "characters", "size": 128}, "size is 128; there are 28 characters"),
        ({"kind": "bpe", "size": 27}, "size is 27; there are 28 characters"),
        ({"kind": "bpe", "size": 128}, "vocabulary_size is 29 and must be one more, for the blank"),
    ],
)
def test_units_that_cannot_be_meant_are_refused(units: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_recipe({"name": "x", "units": units}, "x.yaml")


def test_a_run_keeps_the_units_that_it_began_with(
    recipe: Recipe, tiny_recipe: Recipe, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    first = tokenizer_of_run(recipe, tmp_path)
    assert isinstance(first, SubwordTokenizer) and first.vocabulary_size == SIZE + 1
    assert first == learn_subwords([text.lower() for text in TEXTS], SIZE)
    other_corpus = replace(recipe, data=replace(recipe.data, train=("nowhere.tsv",)))
    assert tokenizer_of_run(other_corpus, tmp_path) == first  # nothing is read again
    assert isinstance(tokenizer_of_run(tiny_recipe, tmp_path), CharacterTokenizer)
    save_bundle(tiny_bundle, tmp_path / "characters")
    (tmp_path / "next").mkdir()
    with pytest.raises(RecipeError, match=r"has 28 units, the recipe 32"):
        tokenizer_of_run(recipe, tmp_path / "next", tmp_path / "characters")
    (tmp_path / TOKENIZER_FILE).write_text('{"units": ["a"], "merges": []}')
    with pytest.raises(RecipeError, match=r"tokenizer\.json is no tokenizer: OptionError"):
        tokenizer_of_run(recipe, tmp_path)


def test_from_subwords_to_words_with_times(recipe: Recipe, tmp_path: Path) -> None:
    """Trained, saved, loaded, warm-started from; decoded greedily and by a search whose lexicon is of subwords."""
    once = replace(recipe, optimizer=replace(recipe.optimizer, epochs=1))
    path = train(once, tmp_path / "run", accelerator="cpu", report=ProgressReport(quiet=True))
    bundle = load_bundle(path)
    tokenizer = bundle.tokenizer
    assert isinstance(tokenizer, SubwordTokenizer)
    assert json.loads((tmp_path / "run" / TOKENIZER_FILE).read_text())["units"] == list(tokenizer.units)

    spelled = tokenizer.encode("cab a")
    assert len(spelled) < len("cab a")
    path_S = [0, *(index for unit in spelled for index in (unit, 0))]
    log_probs_SV = (20 * torch.eye(SIZE + 1)[path_S]).log_softmax(-1)
    (tmp_path / "words.arpa").write_text(word_list_arpa("CAB", "A", "B"))
    model = LanguageModel(tmp_path / "words.arpa", ("CAB", "A", "B"), BeamSearchConfig(lm_weight=0.1, word_bonus=0.0))
    for led in (bundle, replace(bundle, language_model=model)):
        transcriber = Transcriber(led, runtime=Perfect(log_probs_SV), detection=None, timing=None)
        (segment,) = transcriber.transcribe(Waveform(sing("cab a"), 16_000)).segments
        assert [word.text for word in segment.words] == ["cab", "a"]
        assert [token.id for token in segment.tokens] == spelled
        first_s, last_s = (0.04 * path_S.index(unit) for unit in (spelled[0], spelled[-1]))
        assert segment.words[0].start_s == pytest.approx(first_s)
        assert segment.words[1].start_s == pytest.approx(last_s)

    again = train(once, tmp_path / "again", warm_start=path, accelerator="cpu", report=ProgressReport(quiet=True))
    assert load_bundle(again).tokenizer == tokenizer


class Perfect:
    """A runtime that hears what it was told."""

    name: RuntimeName = "torch"

    def __init__(self, log_probs_SV: Tensor) -> None:
        self._log_probs_1SV = log_probs_SV.unsqueeze(0)

    def __call__(self, features_BTF: Tensor, lengths_B: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._log_probs_1SV, torch.tensor([self._log_probs_1SV.shape[1]])
