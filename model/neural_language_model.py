"""A language model that has read whole sentences: an LSTM over words, for judging what the n-gram search has found.

Shape legend: B sentences, U words and the end of the sentence, N those of all sentences together, D width.

    word → embedding (D) → n × LSTM → adaptive softmax over the vocabulary

Embedding and softmax share their weights (Press and Wolf, "Using the output embedding to improve language models", EACL
2017), also where rare words have narrower ones (Grave et al., "Efficient softmax approximation for GPUs", ICML 2017;
Baevski and Auli, "Adaptive input representations for neural language modeling", ICLR 2019).

**Unknown words.** Every word outside the vocabulary is read as `<unk>`. When one is scored, P(<unk>) is shared evenly
among the `unknown_words` that the training text had outside the vocabulary, so that a word nobody knows is never
likelier than a rare one that is known.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn

from model.errors import OptionError
from model.prefix_tree import PrefixTree, grow_tree
from model.weights_file import dump_model, parse_model

FORMAT_VERSION = 1
END, UNKNOWN = range(2)  # the end of a sentence is also what stands before the first word
SPECIAL_WORDS = ("</s>", "<unk>")
_ROWS_AT_ONCE = 64  # sentences in one pass through the network; bounds its memory
_UNUSABLE_CONTENT = (SafetensorError, KeyError, TypeError, AttributeError, ValueError, RuntimeError, OptionError)


@dataclass(frozen=True)
class NeuralLanguageModelConfig:
    """Sizes of the network.

    Attributes:
        width: units of an LSTM layer, and of a frequent word's embedding, D.
        n_layers: LSTM layers.
        dropout: share of embeddings, and of each layer's output, dropped in training, 0..1.
        cutoffs: ranks at which rarer words begin, `SPECIAL_WORDS` counted as the two most frequent; ascending.
        shrink: the embeddings of each rarer class of words are narrower by this factor.
        unknown_words: how many words share the probability of `<unk>`.
    """

    width: int = 512
    n_layers: int = 1
    dropout: float = 0.1
    cutoffs: tuple[int, ...] = (1000, 6000, 15_000)
    shrink: float = 4.0
    unknown_words: int = 1

    def __post_init__(self) -> None:
        if min(self.width, self.n_layers, self.unknown_words) < 1:
            raise OptionError(
                f"width is {self.width}, n_layers {self.n_layers} and unknown_words {self.unknown_words}; "
                "1 is the least of each"
            )
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout is {self.dropout}; it must lie in 0..1, 1 excluded")
        ascending = all(low < high for low, high in zip((0, *self.cutoffs), self.cutoffs, strict=False))
        if not self.cutoffs or not ascending:
            raise OptionError(f"cutoffs are {self.cutoffs}; one at least is needed, above 0 and ascending")
        narrowest = self.width / self.shrink ** len(self.cutoffs) if self.shrink >= 1 else 0
        if narrowest < 1:
            raise OptionError(
                f"shrink is {self.shrink}: it must be at least 1, and leave a unit of width {self.width} after "
                f"{len(self.cutoffs)} cutoffs"
            )


class NeuralLanguageModel(nn.Module):
    """The network with its vocabulary.

    Args:
        words: the vocabulary, lower case, most frequent first, without `SPECIAL_WORDS`.
        config: sizes.
        record: of its training: words, passes, perplexity … (free form, JSON).

    Attributes:
        words, config, record: as given.

    Raises:
        OptionError: a cutoff lies behind the last word, or a word occurs twice.
    """

    def __init__(
        self, words: Sequence[str], config: NeuralLanguageModelConfig, record: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.words, self.config, self.record = tuple(words), config, record or {}
        self._index = {word: index for index, word in enumerate((*SPECIAL_WORDS, *words))}
        size = len(SPECIAL_WORDS) + len(self.words)
        if len(self._index) < size:
            raise OptionError(f"the vocabulary has {size} words, but only {len(self._index)} different ones")
        if config.cutoffs[-1] >= size:
            raise OptionError(f"the vocabulary has {size} words; the last of the cutoffs {config.cutoffs} is behind it")
        between_layers = config.dropout if config.n_layers > 1 else 0.0
        self.lstm = nn.LSTM(config.width, config.width, config.n_layers, batch_first=True, dropout=between_layers)
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(
            config.width, size, list(config.cutoffs), div_value=config.shrink, head_bias=True
        )
        self.dropout = nn.Dropout(config.dropout)

    def encode(self, words: Sequence[str]) -> list[int]:
        """Word indices of a sentence with its end; words outside the vocabulary are UNKNOWN."""
        return [*(self._index.get(word, UNKNOWN) for word in words), END]

    def forward(self, targets_BU: Int[Tensor, "B U"], lengths_B: Int[Tensor, "B"]) -> Float[Tensor, "N"]:
        """Natural-log probability of each word of sentences that begin where their rows begin.

        Args:
            targets_BU: word indices, each sentence with its end; what lies behind a sentence is read, but not scored.
            lengths_B: words of each sentence, its end counted; 1 is the least.

        Returns:
            The scores of the first sentence, then those of the second …: as many as `lengths_B` adds up to.
        """
        before_BU = nn.functional.pad(targets_BU[:, :-1], (1, 0), value=END)
        hidden_BUD, _ = self.lstm(self.dropout(self._embed(before_BU)))
        scored_BU = torch.arange(targets_BU.shape[1], device=lengths_B.device) < lengths_B.unsqueeze(1)
        hidden_ND = self.dropout(hidden_BUD[scored_BU].float())
        with torch.autocast(hidden_ND.device.type, enabled=False):  # under which torch's adaptive softmax fails
            scores_N: Tensor = self.softmax(hidden_ND, targets_BU[scored_BU]).output
        return scores_N

    def word_log10probs(self, sentences: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
        """log10 probability of each word after those before it, and last that of the sentence's end.

        Args:
            sentences: lower case; a sentence may be empty.

        Returns:
            For each sentence one number more than it has words; an unknown word has its share of `<unk>`.
        """
        share = math.log10(self.config.unknown_words)
        scores: list[tuple[float, ...]] = []
        for first in range(0, len(sentences), _ROWS_AT_ONCE):
            encoded = [self.encode(sentence) for sentence in sentences[first : first + _ROWS_AT_ONCE]]
            for ids, logprobs in zip(encoded, self._score(encoded), strict=True):
                log10probs = (logprob / math.log(10) for logprob in logprobs)
                scores.append(tuple(p - share * (i == UNKNOWN) for i, p in zip(ids, log10probs, strict=True)))
        return scores

    @torch.inference_mode()
    def _score(self, encoded: list[list[int]]) -> list[list[float]]:
        """As `forward` does, but what stands behind the same words is computed once."""
        device = self.softmax.head.weight.device
        tree = grow_tree(encoded)
        parents_N, words_N = (torch.tensor(part, device=device) for part in (tree.parents, tree.words))
        hidden_MD = self._read(tree, words_N)
        scores_N = self.softmax(hidden_MD[parents_N], words_N).output.double().tolist()
        return [[scores_N[node - 1] for node in path] for path in tree.paths]

    def _read(self, tree: PrefixTree, words_N: Tensor) -> Tensor:
        """The LSTM's output behind every node of the tree, (nodes, D); zeros where no sentence goes on."""
        parents_M = torch.tensor([0, *tree.parents], device=words_N.device)
        words_M = nn.functional.pad(words_N, (1, 0), value=END)
        different_K, of_M = torch.unique(words_M, return_inverse=True)
        read_MD = self._embed(different_K)
        for layer in range(self.config.n_layers):
            lstm = self.lstm
            weights, recurrent = (getattr(lstm, f"weight_{part}_l{layer}") for part in ("ih", "hh"))
            bias = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
            heard_MG = nn.functional.linear(read_MD, weights, bias)
            if layer == 0:
                heard_MG = heard_MG[of_M]
            recurrent_DG = recurrent.T.contiguous()  # for a few rows a product with it is more than twice as fast
            read_MD = torch.zeros(len(parents_M), self.config.width, device=words_N.device)
            cell_MD = torch.zeros_like(read_MD)
            for level in tree.levels:
                nodes_L = torch.tensor(level, device=words_N.device)
                before_L = parents_M[nodes_L]  # the root's parent is itself, with a state of zeros
                gates_LG = torch.addmm(heard_MG[nodes_L], read_MD[before_L], recurrent_DG)
                write, keep, candidate, show = gates_LG.chunk(4, 1)  # torch's order of the gates
                cell_LD = write.sigmoid() * candidate.tanh() + keep.sigmoid() * cell_MD[before_L]
                cell_MD[nodes_L], read_MD[nodes_L] = cell_LD, show.sigmoid() * cell_LD.tanh()
        return read_MD

    def _embed(self, ids_BU: Tensor) -> Tensor:
        """Each word's row of the softmax, widened where the word is rare."""
        ids_N = ids_BU.flatten()
        rows, places = [], []
        for at, (low, high) in enumerate(zip((0, *self.config.cutoffs), self.softmax.cutoffs, strict=True)):
            place_M = ((ids_N >= low) & (ids_N < high)).nonzero().squeeze(1)
            places.append(place_M)
            if at == 0:
                rows.append(nn.functional.embedding(ids_N[place_M], self.softmax.head.weight))
                continue
            narrow, table = self.softmax.tail[at - 1].parameters()
            rows.append(nn.functional.embedding(ids_N[place_M] - low, table) @ narrow)
        embedded_ND = torch.cat(rows)[torch.cat(places).argsort()]
        # weights of a softmax start small, and the LSTM wants inputs of about 1
        return embedded_ND.view(*ids_BU.shape, -1) * math.sqrt(self.config.width)


def dump(model: NeuralLanguageModel) -> bytes:
    """A model as the content of a safetensors file: weights as float16, all else as JSON in the file's metadata."""
    record = {
        "format_version": FORMAT_VERSION,
        "config": asdict(model.config),
        "words": model.words,
        "training": model.record,
    }
    return dump_model(model, "neural_lm", record)


def parse(content: bytes) -> NeuralLanguageModel:
    """The model of such a file, in evaluation mode, float32; what is wrong with it is raised as OptionError."""
    try:
        record, weights = parse_model(content, "neural_lm", FORMAT_VERSION)
        config = NeuralLanguageModelConfig(**{**record["config"], "cutoffs": tuple(record["config"]["cutoffs"])})
        model = NeuralLanguageModel(record["words"], config, record["training"])
        model.load_state_dict(weights)
    except _UNUSABLE_CONTENT as error:
        raise OptionError(f"no neural language model: {error}") from error
    return model.eval().requires_grad_(False)


def load_neural_lm(path: str | os.PathLike[str]) -> NeuralLanguageModel:
    """Read a model that `cepstra lm train-neural` wrote.

    Raises:
        OptionError: the file is none, or of another format version.
        OSError: it cannot be read.
    """
    try:
        return parse(Path(path).read_bytes())
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
