"""A recipe: everything that decides what a training run computes, in one YAML file."""

import math
import os
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from features.errors import CepstraError
from features.front_end import FrontEndConfig
from model.acoustic_model import AcousticModelConfig
from model.tokenizer import ENGLISH_CHARACTERS
from training.augment import AugmentConfig
from training.errors import RecipeError
from training.objectives import ObjectiveConfig

RECIPES_DIR = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class DataConfig:
    """What to train on.

    Attributes:
        train: corpora (see `training.corpora.read_corpus`); relative paths are relative to the working directory.
        dev: the corpus that WER is watched on while training; empty for none.
        dev_utterances: how many of its utterances, evenly spread.
        max_utterance_s: longer training utterances are left out, by name.
        max_batch_s: seconds of audio in a batch, padding included.
        shortest_first: the first pass goes from short utterances to long ones; a warm start needs no such help.
        cache: keep decoded audio under the run's folder (115 MB an hour).
        workers: processes that load audio.
    """

    train: tuple[str, ...] = ()
    dev: str = ""
    dev_utterances: int = 100
    max_utterance_s: float = 25.0
    max_batch_s: float = 150.0
    shortest_first: bool = True
    cache: bool = True
    workers: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.max_utterance_s <= self.max_batch_s:
            raise RecipeError(
                f"data.max_utterance_s is {self.max_utterance_s}; it must lie in (0, max_batch_s = {self.max_batch_s}]"
            )
        if self.workers < 0 or self.dev_utterances < 1:
            raise RecipeError(
                f"data.workers is {self.workers}, dev_utterances {self.dev_utterances}; at least 0 and 1 are needed"
            )


@dataclass(frozen=True)
class UnitsConfig:
    """What the network writes with; see `training.units`.

    Attributes:
        kind: `characters`, or `bpe` for subwords that are learned from the training transcripts.
        size: units, the blank not counted: 28 characters, or so many subwords, the characters among them.
    """

    kind: str = "characters"
    size: int = len(ENGLISH_CHARACTERS)

    def __post_init__(self) -> None:
        least = len(ENGLISH_CHARACTERS)
        if self.kind not in ("characters", "bpe"):
            raise RecipeError(f"units.kind is {self.kind!r}; it must be 'characters' or 'bpe'")
        if self.size < least or (self.kind == "characters" and self.size > least):
            raise RecipeError(f"units.size is {self.size}; there are {least} characters, and only subwords can be more")


@dataclass(frozen=True)
class OptimizerConfig:
    """How to descend.

    Attributes:
        epochs: passes over the data.
        peak_lr: highest learning rate of AdamW.
        muon_lr: highest learning rate of Muon, which then moves the LSTMs' matrices; 0 leaves them to AdamW.
        warmup_share: share of the run in which the rate rises linearly from 0; a cosine then takes it to 0.
        weight_decay: of matrices, by either.
        clip_norm: AdamW's gradients are scaled down to this norm; Muon's steps do not depend on theirs.
        ema_decay: of the exponential moving average of the weights, which is what is saved and evaluated; 0 for none.
        precision: `bf16-mixed` or `32-true`; log-softmax and CTC are float32 always.
    """

    epochs: int = 40
    peak_lr: float = 1.5e-3
    muon_lr: float = 0.0
    warmup_share: float = 0.05
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    precision: str = "bf16-mixed"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.peak_lr <= 0 or self.clip_norm <= 0 or self.muon_lr < 0:
            raise RecipeError(
                f"optimizer.epochs is {self.epochs}, peak_lr {self.peak_lr}, muon_lr {self.muon_lr}, clip_norm "
                f"{self.clip_norm}; at least 1 pass and positive rates are needed, of which muon_lr may be 0"
            )
        if self.weight_decay < 0:
            raise RecipeError(f"optimizer.weight_decay is {self.weight_decay}; it must not be negative")
        if not 0 <= self.warmup_share < 1 or not 0 <= self.ema_decay < 1:
            raise RecipeError(
                f"optimizer.warmup_share is {self.warmup_share}, ema_decay {self.ema_decay}; both must lie in 0..1"
            )
        if self.precision not in ("bf16-mixed", "32-true"):
            raise RecipeError(f"optimizer.precision is {self.precision!r}; it must be 'bf16-mixed' or '32-true'")


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes:
        name: name of the run and of the bundle it makes.
        seed: of everything that is random.
        checkpoint_minutes: time between checkpoints.
        evaluate_every: passes between evaluations on the dev corpus.
        data, augment, units, front_end, acoustic_model, objective, optimizer: the parts.
    """

    name: str
    seed: int = 1
    checkpoint_minutes: float = 5.0
    evaluate_every: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    units: UnitsConfig = field(default_factory=UnitsConfig)
    front_end: FrontEndConfig = field(default_factory=FrontEndConfig)
    acoustic_model: AcousticModelConfig = field(default_factory=AcousticModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise RecipeError(f"recipe name is {self.name!r}; it must be a plain name")
        if not -(2**63) <= self.seed < 2**63:
            raise RecipeError(f"seed is {self.seed}; it must lie in -2^63..2^63 - 1")
        if self.front_end.n_features != self.acoustic_model.n_features:
            raise RecipeError(
                f"the front end gives {self.front_end.n_features} features; "
                f"acoustic_model.n_features is {self.acoustic_model.n_features}"
            )
        if self.units.size + 1 != self.acoustic_model.vocabulary_size:
            raise RecipeError(
                f"units.size is {self.units.size}; acoustic_model.vocabulary_size is "
                f"{self.acoustic_model.vocabulary_size} and must be one more, for the blank"
            )
        if self.checkpoint_minutes < 0 or self.evaluate_every < 1:
            raise RecipeError(
                f"checkpoint_minutes is {self.checkpoint_minutes}, evaluate_every {self.evaluate_every}; "
                "at least 0 and 1 are needed"
            )
        if self.augment.frequency_warp and self.front_end.kind != "log_mel":
            raise RecipeError(
                f"augment.frequency_warp is {self.augment.frequency_warp}, but the front end's kind is "
                f"{self.front_end.kind!r}; only log_mel features have bands to move"
            )
        self.objective.verify(self.acoustic_model, self.augment)


def load_recipe(source: str | os.PathLike[str]) -> Recipe:
    """Read a recipe: the name of one that comes with Cepstra (`mini`), or a path to a YAML file.

    Raises:
        RecipeError: there is none, it is not YAML or not UTF-8, an option is unknown or outside its range.
    """
    path = Path(source)
    if not path.suffix and not path.exists():
        path = RECIPES_DIR / f"{source}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in RECIPES_DIR.glob("*.yaml")))
        raise RecipeError(f"no recipe {str(source)!r}: give a YAML file or one of: {known}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8: it has a byte {error.object[error.start]:#04x}") from error
    return build_recipe(values if isinstance(values, dict) else {}, str(path))


def build_recipe(values: dict[str, Any], where: str) -> Recipe:
    """A recipe from plain values, as YAML or JSON gives them; options that are missing have their defaults.

    Raises:
        RecipeError: an option is unknown or outside its range; the message begins with `where`.
    """
    recipe = _build(Recipe, values, where)
    assert isinstance(recipe, Recipe)
    return recipe


def _build(cls: type, values: dict[str, Any], where: str) -> object:
    """A (nested) dataclass from plain values; unknown keys and wrong types are errors."""
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known, key=str)
    if unknown:
        raise RecipeError(f"{where}: unknown option {unknown[0]!r}; known are {', '.join(sorted(known))}")
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        hint = hints[name]
        if is_dataclass(hint) and isinstance(hint, type):
            if not isinstance(value, dict):
                raise RecipeError(f"{where}: {name} is {value!r}; it must be a group of options")
            arguments[name] = _build(hint, value, f"{where}: {name}")
        else:
            arguments[name] = _convert(value, hint, f"{where}: {name}")
    try:
        return cls(**arguments)
    except (TypeError, CepstraError) as error:
        raise RecipeError(f"{where}: {error}") from error


def _convert(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where} is {value!r}; it must be a list, in brackets")
        of = get_args(hint)[0]
        as_it_is = {str: (), float: (int,)}.get(of, object)  # an int stays one: runs compare what they were made of
        return tuple(one if isinstance(one, as_it_is) else _convert(one, of, where) for one in value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML reads 1e-3 as text
        except (ValueError, OverflowError) as error:
            raise RecipeError(f"{where} is {value!r}; it must be a number") from error
        if not math.isfinite(number):
            raise RecipeError(f"{where} is {value!r}; it must be a finite number")
        return number
    if hint in (int, bool, str, float) and type(value) is not hint:
        raise RecipeError(f"{where} is {value!r}; it must be of type {hint.__name__}")
    return value
