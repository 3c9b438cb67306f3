"""The neural language model against the same network written out, and as a file."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.errors import OptionError
from model.neural_language_model import (
    END,
    SPECIAL_WORDS,
    UNKNOWN,
    NeuralLanguageModel,
    NeuralLanguageModelConfig,
    dump,
    load_neural_lm,
    parse,
)

WORDS = ("the", "of", "and", "to", "a", "in", "he", "was", "it", "that", "his", "her")
CONFIG = NeuralLanguageModelConfig(width=16, n_layers=2, dropout=0.3, cutoffs=(4, 9), shrink=2.0, unknown_words=40)
SENTENCES = (("the", "her", "of"), (), ("zebra",), ("in", "the", "the", "his", "a", "that", "zebra", "was"), ("and",))


@pytest.fixture
def model() -> NeuralLanguageModel:
    torch.manual_seed(7)
    return NeuralLanguageModel(WORDS, CONFIG).eval()


def written_out(model: NeuralLanguageModel, ids: list[int]) -> list[float]:
    """Natural-log probability of each index after those before it: whole matrices, one cell, one step at a time."""
    cells = []
    for layer in range(CONFIG.n_layers):
        cell = torch.nn.LSTMCell(CONFIG.width, CONFIG.width)
        cell.load_state_dict(
            {key: getattr(model.lstm, f"{key}_l{layer}") for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        )
        cells.append(cell)
    head, tails = model.softmax.head, [list(tail.parameters()) for tail in model.softmax.tail]
    frequent = head.weight[: CONFIG.cutoffs[0]]
    embedding_VD = torch.cat([frequent, *(table @ narrow for narrow, table in tails)]) * math.sqrt(CONFIG.width)
    states = [(torch.zeros(CONFIG.width), torch.zeros(CONFIG.width)) for _ in cells]
    logprobs = []
    for before, word in zip([END, *ids], ids, strict=False):
        hidden = embedding_VD[before]
        for at, cell in enumerate(cells):
            states[at] = cell(hidden, states[at])
            hidden = states[at][0]
        top = (head.weight @ hidden + head.bias).log_softmax(0)
        parts = [top[: CONFIG.cutoffs[0]]]
        for at, (narrow, table) in enumerate(tails):
            parts.append(top[CONFIG.cutoffs[0] + at] + (table @ (narrow @ hidden)).log_softmax(0))
        all_words: Tensor = torch.cat(parts)
        assert float(all_words.exp().sum()) == pytest.approx(1.0)
        logprobs.append(float(all_words[word]))
    return logprobs


@torch.no_grad()
def test_scores_are_those_of_the_network_written_out(model: NeuralLanguageModel) -> None:
    for sentence, scores in zip(SENTENCES, model.word_log10probs(SENTENCES), strict=True):
        ids = model.encode(sentence)
        assert len(scores) == len(sentence) + 1 == len(ids)
        for word, score, logprob in zip((*sentence, "</s>"), scores, written_out(model, ids), strict=True):
            shared = math.log10(CONFIG.unknown_words) if word == "zebra" else 0.0
            assert score == pytest.approx(logprob / math.log(10) - shared, abs=1e-5)


def test_a_sentence_has_the_same_scores_alone_and_in_a_batch(model: NeuralLanguageModel) -> None:
    many = SENTENCES * 30  # more than go through the network at once
    together = model.word_log10probs(many)
    assert len(together) == len(many)
    for sentence, scores in zip(many, together, strict=True):
        (alone,) = model.word_log10probs([sentence])
        assert scores == pytest.approx(alone, abs=1e-5)
    assert model.word_log10probs([]) == []


def test_what_lies_behind_a_sentence_changes_nothing(model: NeuralLanguageModel) -> None:
    ids = torch.tensor([model.encode(SENTENCES[0])])
    longer = torch.nn.functional.pad(ids, (0, 5), value=UNKNOWN)
    length_B = torch.tensor([4])
    torch.testing.assert_close(model(longer, length_B), model(ids, length_B), rtol=0, atol=1e-6)


def test_a_word_is_judged_by_what_stands_before_it_alone(model: NeuralLanguageModel) -> None:
    one, other = model.word_log10probs([("the", "his", "a"), ("the", "his", "her")])
    assert one[:2] == other[:2]
    assert one[2:] != other[2:]


def test_an_unknown_word_has_a_share_of_the_probability_of_all_unknown_words(model: NeuralLanguageModel) -> None:
    (some,) = model.word_log10probs([("zebra",)])
    alone = NeuralLanguageModel(WORDS, replace(CONFIG, unknown_words=1)).eval()
    alone.load_state_dict(model.state_dict())
    (one,) = alone.word_log10probs([("gnu",)])
    assert some[0] == pytest.approx(one[0] - math.log10(40), abs=1e-6)
    assert some[1] == one[1]


def test_embedding_and_softmax_are_one_set_of_weights(model: NeuralLanguageModel) -> None:
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"lstm", "softmax"}
    scores = model(torch.tensor([[UNKNOWN, 11, END]]), torch.tensor([3]))
    scores[2].backward()  # that of the end, which 11, a rare word, has only as what stands before it
    gradient = model.softmax.tail[1][1].weight.grad  # type: ignore[index]  # torch does not type its parts
    assert isinstance(gradient, Tensor)
    assert gradient[11 - 9].abs().sum() > 0
    assert gradient[[0, 1, 3, 4]].abs().sum() == 0


def test_a_model_comes_back_from_its_file_with_weights_of_half_precision(
    model: NeuralLanguageModel, tmp_path: Path
) -> None:
    model.record["perplexity"] = 123.4
    (tmp_path / "lm.safetensors").write_bytes(dump(model))
    loaded = load_neural_lm(tmp_path / "lm.safetensors")
    assert (loaded.words, loaded.config, loaded.record) == (WORDS, CONFIG, {"perplexity": 123.4})
    assert not loaded.training
    for key, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], weight.half().float())
    for loaded_scores, scores in zip(loaded.word_log10probs(SENTENCES), model.word_log10probs(SENTENCES), strict=True):
        assert loaded_scores == pytest.approx(scores, abs=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record | {"format_version": 9}, "it has format 9"),
        (lambda record: record | {"words": WORDS[:5]}, "the last of the cutoffs"),
        (lambda record: record | {"words": (*WORDS[1:], "her")}, "only 13 different ones"),
        (lambda record: record | {"words": (*WORDS, "more")}, "size mismatch"),
        (lambda record: record | {"config": {"width": 8}}, "cutoffs"),
        (lambda record: record | {"config": record["config"] | {"width": 0}}, "width is 0"),
    ],
)
def test_a_file_of_another_kind_says_what_it_is(
    model: NeuralLanguageModel, tmp_path: Path, change: object, message: str
) -> None:
    assert callable(change)
    content = dump(model)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["neural_lm"] = json.dumps(change(json.loads(header["__metadata__"]["neural_lm"])))
    changed = json.dumps(header).encode()
    path = tmp_path / "lm.safetensors"
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
    with pytest.raises(OptionError, match=rf"(?s)lm\.safetensors: no neural language model.*{message}"):
        load_neural_lm(path)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\x02" + bytes(7) + b"{}", b"\x04" + bytes(7) + b"null"])
def test_a_file_that_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(OptionError, match="no neural language model"):
        parse(content)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 0}, "n_layers 0"),
        ({"unknown_words": 0}, "unknown_words 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"cutoffs": ()}, r"cutoffs are \(\)"),
        ({"cutoffs": (5, 5)}, "ascending"),
        ({"cutoffs": (0, 5)}, "ascending"),
        ({"width": 15, "cutoffs": (4, 9), "shrink": 4.0}, "leave a unit"),
        ({"shrink": 0.5}, "shrink is 0.5"),
    ],
)
def test_sizes_that_cannot_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        NeuralLanguageModelConfig(**options)  # type: ignore[arg-type]  # tests choose


def test_the_special_words_are_not_of_the_vocabulary() -> None:
    with pytest.raises(OptionError, match="only 13 different ones"):
        NeuralLanguageModel((*WORDS[1:], SPECIAL_WORDS[1]), CONFIG)
