"""What a network hears of its corpus, and where its phones begin."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import Bundle
from model.forced_alignment import force_align
from tests.training.spelled import spoken_bundle, spoken_recipe
from training.errors import RecipeError, StorageError
from training.heard import INDEX_FILE, hear, read_heard
from training.phones import PhoneTargets, read_pronunciations
from training.recipe import Recipe
from training.selection import select_utterances


@pytest.fixture
def recipe(tiny_recipe: Recipe, tmp_path: Path) -> Recipe:
    return spoken_recipe(tiny_recipe, tmp_path)


def test_all_of_the_corpus_is_heard_and_aligned(recipe: Recipe, tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = spoken_bundle(tiny_bundle, recipe)
    hear(recipe, bundle, tmp_path / "heard", hours=1.0, say=lambda line: None)
    heard = read_heard(tmp_path / "heard")
    _, targets = select_utterances(recipe, bundle.tokenizer)
    phones = PhoneTargets(read_pronunciations(recipe.objective.phone_dictionary), bundle.tokenizer)
    assert sorted(u.units for u in heard.utterances) == sorted(map(tuple, targets))
    assert len(heard.phones_NP) == len(heard.letters_NV) == sum(u.n_frames for u in heard.utterances)
    for posteriors in (heard.phones_NP, heard.letters_NV):
        sums_N = np.exp(posteriors.astype(np.float32)).sum(-1)
        np.testing.assert_allclose(sums_N, 1, atol=0.01)
    assert not bundle.acoustic_model.training
    first_frame = 0
    for utterance in heard.utterances:
        assert utterance.first_frame == first_frame
        first_frame += utterance.n_frames
        assert utterance.phones == phones.of(utterance.units)
        heard_SP = torch.from_numpy(np.array(heard.phones_NP[utterance.first_frame : first_frame])).float()
        aligned = force_align(heard_SP, utterance.phones)
        assert utterance.starts == pytest.approx([unit.first_frame for unit in aligned], abs=1)  # half precision


def test_an_hour_is_the_end_of_it_and_the_same_is_heard_again(
    recipe: Recipe, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    bundle = spoken_bundle(tiny_bundle, recipe)
    for folder in ("one", "two"):
        hear(recipe, bundle, tmp_path / folder, hours=5 / 3600, say=lambda line: None)
    one, two = (read_heard(tmp_path / folder) for folder in ("one", "two"))
    assert 0 < len(one.utterances) < 12
    assert one.utterances == two.utterances
    assert np.array_equal(one.phones_NP, two.phones_NP)


def test_what_is_there_is_kept_and_that_of_another_network_refused(
    recipe: Recipe, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    bundle, said = spoken_bundle(tiny_bundle, recipe), list[str]()
    hear(recipe, bundle, tmp_path / "heard", hours=1.0, say=said.append)
    assert said
    before = (tmp_path / "heard" / INDEX_FILE).stat().st_mtime_ns
    said.clear()
    hear(recipe, bundle, tmp_path / "heard", hours=1.0, say=said.append)
    assert not said and (tmp_path / "heard" / INDEX_FILE).stat().st_mtime_ns == before
    with pytest.raises(RecipeError, match="what another network heard"):
        hear(replace(recipe, seed=8), bundle, tmp_path / "heard", hours=1.0, say=said.append)
    assert json.loads((tmp_path / "heard" / INDEX_FILE).read_text())["utterances"]


def test_phones_are_needed(tiny_recipe: Recipe, tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"needs objective.phone_dictionary .* and a head for phones"):
        hear(tiny_recipe, tiny_bundle, tmp_path / "heard", hours=1.0, say=lambda line: None)


def test_what_cannot_be_written_is_said(recipe: Recipe, tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "heard").write_text("a file where the folder is to be")
    with pytest.raises(StorageError, match=r"could not write below .*heard"):
        hear(recipe, spoken_bundle(tiny_bundle, recipe), tmp_path / "heard", hours=1.0, say=lambda line: None)
