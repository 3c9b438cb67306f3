"""Letter to sound: how words that no dictionary has are pronounced, such as names that a request brings along.

Shape legend: B words, L letters, T frames (`frames_a_letter` for each letter), C classes, H hidden size.

    letter → embedding → n × BiLSTM (H units a direction) → linear, for each frame of the letter → log-softmax over C

Letters and phones stand in the same order, but not one beside the other: `x` is two phones and `ough` one or two. CTC
learns how they belong together, as it does for audio.

Source: Rao, Peng, Sak and Beaufays, "Grapheme-to-phoneme conversion using long short-term memory recurrent neural
networks", ICASSP 2015: the deep bidirectional LSTM with a CTC layer.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn

from model.errors import OptionError
from model.lstm import BidirectionalLSTM, flip_indices
from model.phones import PHONE_BOUNDARY_ID, PHONES, Pronunciation
from model.weights_file import dump_model, parse_model

FORMAT_VERSION = 1
LONGEST_WORD = 100  # letters
BLANK = 0
N_CLASSES = 1 + len(PHONES)  # the word boundary has none: a word has no boundary inside
_WORDS_AT_ONCE = 256  # in one pass through the network; bounds its memory
_UNUSABLE_CONTENT = (SafetensorError, KeyError, TypeError, AttributeError, ValueError, RuntimeError, OptionError)


@dataclass(frozen=True)
class LetterToSoundConfig:
    """Sizes of the network.

    Attributes:
        characters: what words are spelled with, each once.
        embedding_size: numbers that stand for a letter.
        hidden_size: units of a BiLSTM layer in each direction, H.
        n_layers: BiLSTM layers.
        frames_a_letter: CTC frames of each letter: the most phones that a word can have for each of its letters.
        dropout: share of units before each layer, and before the output, that are dropped in training, 0..1.
    """

    characters: str = "'abcdefghijklmnopqrstuvwxyz"
    embedding_size: int = 64
    hidden_size: int = 112
    n_layers: int = 2
    frames_a_letter: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not self.characters or len(set(self.characters)) < len(self.characters):
            raise OptionError(f"characters are {self.characters!r}; one at least is needed, and none twice")
        for name in ("embedding_size", "hidden_size", "n_layers", "frames_a_letter"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}; 1 is the least")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout is {self.dropout}; it must lie in 0..1, 1 excluded")


class LetterToSound(nn.Module):
    """The network. Class `BLANK` is CTC's blank, and class c > 0 the phone with the index c + 1 of `model.phones`.

    Args:
        config: sizes.
        record: of its training: dictionary, passes, error rates … (free form, JSON).

    Attributes:
        config, record: as given.
    """

    def __init__(self, config: LetterToSoundConfig, record: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config, self.record = config, record or {}
        self._index = {character: index for index, character in enumerate(config.characters)}
        self.embedding = nn.Embedding(len(config.characters), config.embedding_size)
        widths = [config.embedding_size, *[2 * config.hidden_size] * config.n_layers]
        self.layers = nn.ModuleList(BidirectionalLSTM(width, config.hidden_size) for width in widths[:-1])
        self.output = nn.Linear(widths[-1], config.frames_a_letter * N_CLASSES)
        self.dropout = nn.Dropout(config.dropout)

    def encode(self, word: str) -> list[int]:
        """Indices of a word's characters.

        Raises:
            OptionError: the word has a character that is not among the config's (capitals are not), or none at all, or
                more than `LONGEST_WORD`.
        """
        if not 1 <= len(word) <= LONGEST_WORD:
            raise OptionError(f"{word[:LONGEST_WORD]!r} has {len(word)} letters; 1 to {LONGEST_WORD} can be pronounced")
        for character in word:
            if character not in self._index:
                raise OptionError(
                    f"{word!r} has the character {character!r}; only {self.config.characters} can be read"
                )
        return [self._index[character] for character in word]

    def forward(self, letters_BL: Int[Tensor, "B L"], lengths_B: Int[Tensor, " B"]) -> Float[Tensor, "B T C"]:
        """Log-probabilities of the classes in each frame.

        Args:
            letters_BL: indices that `encode` gives, each word from the beginning of its row on.
            lengths_B: letters of each word, at least 1; what lies behind them reaches no frame of theirs.

        Returns:
            A word of n letters has n × `frames_a_letter` frames; those behind them are arbitrary.
        """
        flip_BL = flip_indices(lengths_B, letters_BL.shape[1])
        hidden_BLH = self.embedding(letters_BL)
        for layer in self.layers:
            hidden_BLH = layer(self.dropout(hidden_BLH), flip_BL)
        logits_BTC: Tensor = self.output(self.dropout(hidden_BLH)).reshape(len(letters_BL), -1, N_CLASSES)
        return logits_BTC.log_softmax(2, dtype=torch.promote_types(logits_BTC.dtype, torch.float32))

    @torch.inference_mode()
    def pronounce(self, words: Sequence[str]) -> list[Pronunciation]:
        """The most probable class of each frame, read as CTC does; in evaluation mode and from any number of threads.

        A model that `parse` has read computes in float64. Sums of a batch and of a single word are then equal to 1e-15,
        and no two classes come as close: how a word is pronounced does not depend on the words beside it.

        Args:
            words: lower case; they may be none.

        Returns:
            A pronunciation for each word, of one phone at least.

        Raises:
            OptionError: a word that `encode` refuses.
        """
        encoded = [torch.tensor(self.encode(word)) for word in words]
        found: list[Pronunciation] = [()] * len(encoded)
        by_length = sorted(range(len(encoded)), key=lambda word: len(encoded[word]))
        for first in range(0, len(by_length), _WORDS_AT_ONCE):
            chosen = by_length[first : first + _WORDS_AT_ONCE]
            letters_BL = nn.utils.rnn.pad_sequence([encoded[word] for word in chosen], batch_first=True)
            lengths_B = torch.tensor([len(encoded[word]) for word in chosen])
            log_probs_BTC = self(letters_BL, lengths_B)
            for word, log_probs_TC in zip(chosen, log_probs_BTC, strict=True):
                found[word] = _read(log_probs_TC[: len(encoded[word]) * self.config.frames_a_letter])
        return found


def classes(pronunciation: Pronunciation) -> list[int]:
    """The network's classes of a pronunciation's phones."""
    return [phone - PHONE_BOUNDARY_ID for phone in pronunciation]


def _read(log_probs_TC: Tensor) -> Pronunciation:
    """The best path with repetitions and blanks taken out; where nothing is left, the best phone of all frames."""
    path = [best for best, _ in groupby(log_probs_TC.argmax(1).tolist()) if best != BLANK]
    if not path:
        path = [1 + int(log_probs_TC[:, 1:].amax(0).argmax())]
    return tuple(best + PHONE_BOUNDARY_ID for best in path)


def dump(model: LetterToSound) -> bytes:
    """A model as the content of a safetensors file: weights as float16, all else as JSON in the file's metadata."""
    record = {"format_version": FORMAT_VERSION, "config": asdict(model.config), "training": model.record}
    return dump_model(model, "letter_to_sound", record)


def parse(content: bytes) -> LetterToSound:
    """The model of such a file, in evaluation mode, float64; what is wrong with it is raised as OptionError."""
    try:
        record, weights = parse_model(content, "letter_to_sound", FORMAT_VERSION)
        model = LetterToSound(LetterToSoundConfig(**record["config"]), record["training"])
        model.load_state_dict(weights)
    except _UNUSABLE_CONTENT as error:
        raise OptionError(f"no letter-to-sound model: {error}") from error
    return model.double().eval().requires_grad_(False)


def load_letter_to_sound(path: str | os.PathLike[str]) -> LetterToSound:
    """Read a model that `cepstra pronounce train` wrote.

    Raises:
        OptionError: the file is none, or of another format version.
        OSError: it cannot be read.
    """
    try:
        return parse(Path(path).read_bytes())
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
