"""What a run's network writes with: characters, or subwords learned from its transcripts."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from model.checkpoint import load_bundle
from model.errors import OptionError
from model.tokenizer import (
    ENGLISH_CHARACTERS,
    WORD_BOUNDARY,
    CharacterTokenizer,
    SubwordTokenizer,
    Tokenizer,
    parse_tokenizer,
)
from training.corpora import normalize_transcript, read_corpus
from training.errors import RecipeError
from training.recipe import Recipe

TOKENIZER_FILE = "tokenizer.json"


def tokenizer_of_run(recipe: Recipe, out: Path, warm_start: str | os.PathLike[str] | None = None) -> Tokenizer:
    """The tokenizer of the run in `out`: its own since it began, that of the bundle it begins from, or a new one.

    Subwords are learned once in a run, and kept in its folder.

    Raises:
        CorpusError: the corpus cannot be read.
        RecipeError: the transcripts are too few for so many subwords, or the bundle has other units.
    """
    if recipe.units.kind == "characters":
        return CharacterTokenizer()
    kept = out / TOKENIZER_FILE
    try:
        return parse_tokenizer(json.loads(kept.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError, OptionError) as error:
        raise RecipeError(f"{kept} is no tokenizer: {error!r}; remove it to begin anew") from error
    if warm_start is not None:
        tokenizer = load_bundle(warm_start).tokenizer
        if tokenizer.vocabulary_size != recipe.units.size + 1:
            raise RecipeError(
                f"{warm_start} has {tokenizer.vocabulary_size - 1} units, the recipe {recipe.units.size} (units.size)"
            )
    else:
        transcripts = (utterance.transcript for source in recipe.data.train for utterance in read_corpus(source))
        tokenizer = learn_subwords(map(normalize_transcript, transcripts), recipe.units.size)
    scratch = kept.with_name(f".{kept.name}.{os.getpid()}")  # every process of a run writes the same
    scratch.write_text(json.dumps(asdict(tokenizer)) + "\n", encoding="utf-8")
    os.replace(scratch, kept)
    return tokenizer


def learn_subwords(texts: Iterable[str], size: int) -> SubwordTokenizer:
    """The most useful subwords of texts: the space, the other characters, and `size` in all with what is merged.

    A function of the texts alone: the same ones give the same units in the same order.

    Args:
        texts: normalised; words stand between spaces.
        size: units, the blank not counted.

    Raises:
        RecipeError: the texts have too few pairs that occur twice.
    """
    from tokenizers import Tokenizer as Learner
    from tokenizers import models, pre_tokenizers, trainers

    learner = Learner(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = ENGLISH_CHARACTERS.replace(WORD_BOUNDARY, "")
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1,
        initial_alphabet=list(letters),
        limit_alphabet=len(letters),
        min_frequency=2,
        special_tokens=[],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    units = (WORD_BOUNDARY, *sorted(learned["vocab"], key=learned["vocab"].__getitem__))
    if len(units) != size:
        raise RecipeError(f"units.size is {size}, and the training transcripts have pairs for {len(units)} only")
    return SubwordTokenizer(units, tuple((first, second) for first, second in learned["merges"]))
