"""N-gram models against KenLM's estimation and scoring, and against the formulas written out slowly."""

import bz2
import gzip
import io
import lzma
import os
import random
import resource
import string
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.audio import decode_audio
from model.errors import OptionError
from model.shipped import SHIPPED_BUNDLE
from model.tokenizer import ENGLISH_CHARACTERS
from model.transcriber import Transcriber
from tests.conftest import SpokenClip
from training import arpa, ngram_text
from training.arpa import write_arpa, write_words
from training.corpora import normalize_transcript
from training.errors import CorpusError, DiscountError, StorageError
from training.ngram import NgramConfig, estimate
from training.ngram_text import limit_vocabulary, read_text, read_word_list

Sentences = Sequence[Sequence[str]]
Ngram = tuple[str, ...]
ENDS = ("<s>", "</s>", "<unk>")


class WrittenModel:
    """An ARPA file as any toolkit reads it: a probability, or a weight and the probability after a shorter context."""

    def __init__(self, path: Path) -> None:
        self.promised: list[int] = []
        self.ngrams: dict[Ngram, tuple[float, float]] = {}
        for line in path.read_text().splitlines():
            if line.startswith("ngram "):
                self.promised.append(int(line.partition("=")[2]))
            elif "\t" in line:
                logprob, words, *backoff = line.split("\t")
                self.ngrams[tuple(words.split(" "))] = float(logprob), float(*backoff or "0")
        assert line == "\\end\\"

    def log10_prob(self, word: str, context: Ngram) -> float:
        if (*context, word) in self.ngrams:
            return self.ngrams[*context, word][0]
        assert context, f"{word} is no unigram"
        return self.ngrams.get(context, (0.0, 0.0))[1] + self.log10_prob(word, context[1:])


class SlowModel:
    """Modified Kneser-Ney (Chen and Goodman, equations 20 to 27) word for word, with dictionaries."""

    def __init__(self, sentences: Sentences, order: int, prune: Sequence[int], *, fallback: bool) -> None:
        self.count: Counter[Ngram] = Counter()
        for sentence in sentences:
            padded = ("<s>", *sentence, "</s>")
            for size in range(1, order + 1):
                self.count.update(padded[at : at + size] for at in range(len(padded) - size + 1))
        del self.count["<s>",]
        self.words = sorted({word for ngram in self.count for word in ngram} - {"<s>"} | {"<unk>"})
        left = defaultdict(set)
        for ngram in self.count:
            left[ngram[1:]].add(ngram[0])
        self.adjusted = {
            ngram: count if len(ngram) == order or ngram[0] == "<s>" else len(left[ngram])
            for ngram, count in self.count.items()
        }
        thresholds = [*prune, *[prune[-1]] * order]
        self.kept = {ngram for ngram, count in self.count.items() if count > thresholds[len(ngram) - 1]}
        self.following: dict[Ngram, list[Ngram]] = defaultdict(list)
        for ngram in self.count:
            self.following[ngram[:-1]].append(ngram)
        self.problem = ""
        self.discounts = [self._discounts(size, fallback) for size in range(1, order + 1)]

    def _discounts(self, size: int, fallback: bool) -> tuple[float, ...]:
        n = Counter(adjusted for ngram, adjusted in self.adjusted.items() if len(ngram) == size)
        missing = [count for count in (1, 2, 3) if n[count] == 0]
        if missing:
            problem = f"no {size}-gram has adjusted count {missing[0]}:"
        else:
            y = n[1] / (n[1] + 2 * n[2])
            found = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
            if min(found) >= 0:
                return (0, *found)
            problem = f"the discounts of {size}-grams would be"
        if not fallback:
            self.problem = self.problem or problem
        return 0, 0.5, 1.0, 1.5

    def discount(self, ngram: Ngram) -> float:
        return self.discounts[len(ngram) - 1][min(3, self.adjusted[ngram])]

    def prob(self, word: str, context: Ngram) -> float:
        shorter = self.prob(word, context[1:]) if context else 1 / len(self.words)
        following = self.following[context]
        if not following:
            return shorter
        mass = sum(self.adjusted[ngram] for ngram in following)
        freed = sum(self.discount(ngram) if ngram in self.kept else self.adjusted[ngram] for ngram in following)
        this = (*context, word)
        share = self.adjusted[this] - self.discount(this) if this in self.kept else 0.0
        return share / mass + freed / mass * shorter


class KenLMScorer:
    """The scores that the beam search will see."""

    def __init__(self, path: Path, words: Sequence[str]) -> None:
        self._dictionary = Dictionary()
        for index, word in enumerate((*words, "<unk>")):
            self._dictionary.add_entry(word, index)
        self._dictionary.set_default_index(len(words))
        self._lm = KenLM(str(path), self._dictionary)

    def score(self, sentence: Sequence[str]) -> list[float]:
        """log10 probability of every word and of the sentence's end."""
        state, scores = self._lm.start(False), []
        for word in sentence:
            state, score = self._lm.score(state, self._dictionary.get_index(word))
            scores.append(score)
        return [*scores, self._lm.finish(state)[1]]


@pytest.fixture(scope="session")
def reference(speech_data: Path) -> Path:
    """A text and the models that lmplz estimates from it, beside the recorded speech."""
    folder = speech_data.parent / "lm" / "reference"
    if not folder.is_dir():
        message = f"no reference of language models: {folder} is missing"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.mark.parametrize(
    ("prune", "expected", "query"),
    [
        ((0,), "unpruned-3gram.arpa", "unpruned-query.txt"),
        ((0, 0, 1), "pruned-001-3gram.arpa", "pruned-query.txt"),
    ],
)
def test_a_model_is_the_one_that_lmplz_estimates(
    prune: tuple[int, ...], expected: str, query: str, reference: Path, tmp_path: Path
) -> None:
    text = read_text([reference / "text.txt"], raw=True)
    write_arpa(estimate(text, NgramConfig(3, prune)), tmp_path / "ours.arpa")
    ours, theirs = WrittenModel(tmp_path / "ours.arpa"), WrittenModel(reference / expected)
    assert ours.promised == theirs.promised
    assert ours.ngrams.keys() == theirs.ngrams.keys()
    aligned = [ours.ngrams[ngram] for ngram in theirs.ngrams]
    np.testing.assert_allclose(aligned, list(theirs.ngrams.values()), rtol=0, atol=1e-5)

    scorer = KenLMScorer(tmp_path / "ours.arpa", text.by_frequency())
    with_unknown, known = [], []
    for line in (reference / "query.txt").read_text().splitlines():
        scores = scorer.score(line.split())
        with_unknown += scores
        is_known = [(word,) in ours.ngrams for word in line.split()]
        known += [score for score, counts in zip(scores, [*is_known, True], strict=True) if counts]
    measured = (
        10 ** (-sum(with_unknown) / len(with_unknown)),
        10 ** (-sum(known) / len(known)),
        len(with_unknown) - len(known),
        len(with_unknown),
    )
    figures = [float(line.rpartition("\t")[2]) for line in (reference / query).read_text().splitlines()]
    assert measured == pytest.approx(figures, rel=1e-5)


def test_normalised_text_gives_the_same_model_in_lower_case(reference: Path) -> None:
    raw, normalised = (read_text([reference / "text.txt"], raw=raw) for raw in (True, False))
    assert [word.lower() if word not in ENDS else word for word in raw.words] == list(normalised.words)
    assert (raw.tokens_N == normalised.tokens_N).all()


@st.composite
def sentences(draw: st.DrawFn) -> Sentences:
    """A few words in any order, or a text long enough for discounts of its own."""
    if draw(st.booleans()):
        return draw(st.lists(st.lists(st.sampled_from("aabc"), min_size=1, max_size=5), min_size=1, max_size=12))
    rng = random.Random(draw(st.integers(0, 10_000)))
    words = [f"{first}{second}" for first in "abcdef" for second in "ghijklm"]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return [rng.choices(words, weights, k=rng.randint(1, 9)) for _ in range(draw(st.integers(20, 80)))]


@settings(deadline=None, max_examples=60)
@given(
    text=sentences(),
    order=st.integers(2, 4),
    prune=st.sampled_from([(0,), (0, 1), (0, 0, 1), (0, 1, 2)]),
    fallback=st.booleans(),
)
@example(text=[["a"]], order=4, prune=(0,), fallback=True)
@example(text=[["a", "b"]], order=2, prune=(0, 1), fallback=True)
def test_probabilities_are_those_of_the_formulas_and_add_up_to_one(
    text: Sentences, order: int, prune: tuple[int, ...], fallback: bool
) -> None:
    prune = prune[:order]
    slow = SlowModel(text, order, prune, fallback=fallback)
    with tempfile.TemporaryDirectory() as folder:
        tokens = read_text([written(Path(folder), text)])
        config = NgramConfig(order, prune, discount_fallback=fallback)
        if not any(len(ngram) == order for ngram in slow.kept):
            with pytest.raises(CorpusError, match=rf"{order - 2} words|no {order}-gram occurs more than"):
                estimate(tokens, config)
            return
        if slow.problem:
            with pytest.raises(DiscountError, match=slow.problem):
                estimate(tokens, config)
            return
        write_arpa(estimate(tokens, config), Path(folder) / "model.arpa")
        model = WrittenModel(Path(folder) / "model.arpa")
    agrees(model, slow)


def agrees(model: WrittenModel, slow: SlowModel) -> None:
    """The same n-grams, the same probability of every word after every context, and 1 in all."""
    kept = slow.kept | {("<s>",), ("<unk>",)}
    assert model.ngrams.keys() == kept
    sizes = Counter(map(len, kept))
    assert model.promised == [sizes[size] for size in sorted(sizes)]
    for context in [(), ("<s>",), *slow.following]:
        probs = [10 ** model.log10_prob(word, context) for word in slow.words]
        expected = [slow.prob(word, context) for word in slow.words]
        np.testing.assert_allclose(probs, expected, rtol=1e-5, atol=1e-50)  # a discount of 0 makes some impossible
        assert sum(probs) == pytest.approx(1, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(text=sentences(), order=st.integers(2, 3), size=st.integers(1, 5))
def test_words_outside_the_vocabulary_are_unknown_and_kenlm_scores_as_the_formulas_do(
    text: Sentences, order: int, size: int
) -> None:
    ranked = [word for word, _ in Counter(word for sentence in text for word in sentence).most_common()][:size]
    limited = [[word if word in ranked else "<unk>" for word in sentence] for sentence in text]
    slow = SlowModel(limited, order, (0,), fallback=True)
    with tempfile.TemporaryDirectory() as folder:
        tokens = limit_vocabulary(read_text([written(Path(folder), text)]), most_frequent=size)
        assert tokens.by_frequency() == ranked
        write_arpa(estimate(tokens, NgramConfig(order, discount_fallback=True)), Path(folder) / "model.arpa")
        agrees(WrittenModel(Path(folder) / "model.arpa"), slow)
        scorer = KenLMScorer(Path(folder) / "model.arpa", ranked)
    for sentence in [*limited, [*ranked, *ranked], ["<unk>", ranked[0], "<unk>"]]:
        padded = ("<s>", *sentence, "</s>")
        expected = [slow.prob(word, padded[max(0, at - order + 1) : at]) for at, word in enumerate(padded) if at]
        probs = [10**score for score in scorer.score(sentence)]
        np.testing.assert_allclose(probs, expected, rtol=1e-5, atol=1e-50)


def test_two_limits_leave_the_most_frequent_of_the_words_that_are_listed(tmp_path: Path) -> None:
    tokens = read_text([written(tmp_path, [["a", "a", "a", "b", "b", "c", "c", "d"]])])
    (tmp_path / "list.txt").write_text("D 5\n\nc 1\nB\nx\n")
    allowed = read_word_list(tmp_path / "list.txt")
    assert allowed == {"b", "c", "d", "x"}
    assert read_word_list(tmp_path / "list.txt", raw=True) == {"B", "c", "D", "x"}
    assert limit_vocabulary(tokens, allowed=allowed).by_frequency() == ["b", "c", "d"]
    limited = limit_vocabulary(tokens, allowed=allowed, most_frequent=2)
    assert [limited.words[token] for token in limited.tokens_N] == ["<s>", *["<unk>"] * 3, *"bbcc", "<unk>", "</s>"]
    assert limited.n_words == tokens.n_words == 8
    with pytest.raises(CorpusError, match="none of the 4 words"):
        limit_vocabulary(tokens, allowed={"x"})
    with pytest.raises(OptionError, match="0 words; 1 is the least"):
        limit_vocabulary(tokens, most_frequent=0)


ODD_CHARACTERS = "aBzÉßΣσİ'’-–_.,\"…  \t\u00a0\u2003\u0301\u00a8½&9"


@settings(deadline=None)
@given(line=st.text(st.sampled_from(ODD_CHARACTERS)))
def test_words_are_those_of_normalised_transcripts(line: str) -> None:
    expected = normalize_transcript(line).split()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text(line + "\nb\n", encoding="utf-8")
        text = read_text([path])
    spellable = set("".join(expected)) <= set(ENGLISH_CHARACTERS)
    assert [text.words[token] for token in text.tokens_N] == [
        *(["<s>", *expected, "</s>"] if expected and spellable else []),
        *("<s>", "b", "</s>"),
    ]


def test_packed_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes("\ufeffÉt tu\r\n".encode())
    (tmp_path / "2.txt.gz").write_bytes(gzip.compress(b"Brute,\n\nthen fall\n", mtime=0))
    (tmp_path / "3.txt.bz2").write_bytes(bz2.compress(b"- * -\nCaesar!"))
    (tmp_path / "4.txt.xz").write_bytes(lzma.compress(b"then\n" * 30_000))
    names = [tmp_path / name for name in ("1.txt", "2.txt.gz", "3.txt.bz2", "4.txt.xz")]
    seen: list[tuple[int, int]] = []
    text = read_text(names, progress=lambda done, total: seen.append((done, total)))
    assert text.words == ("<unk>", "<s>", "</s>", "et", "tu", "brute", "then", "fall", "caesar")
    assert text.n_words == 30_006
    assert text.by_frequency()[0] == "then"
    total = sum(path.stat().st_size for path in names)
    assert [of for _, of in seen] == [total] * 3
    assert seen[-1][0] == total


def test_standard_input_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = io.TextIOWrapper(io.BytesIO(b"a b\n" * 20_000))
    monkeypatch.setattr(sys, "stdin", typed)
    assert read_text(["-", "-"], progress=lambda *at: pytest.fail(f"{at} of what?")).n_words == 40_000
    assert typed.read() == ""


def test_lines_that_cannot_be_spelled_are_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, [["in", "1984"], ["in", "time"], ["rock", "&", "roll"]])
    text = read_text([path])
    assert text.words[3:] == ("in", "time")
    assert "2 of 3 lines left out" in caplog.text
    assert "'1984'" in caplog.text
    assert read_text([path], raw=True).words[3:] == ("in", "1984", "time", "rock", "&", "roll")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "no text in it"),
        ("blank.txt", b"\n \n...\n", "none of its 3 lines is a sentence"),
        ("digits.txt", b"1\n2\n", "none of its 2 lines is a sentence"),
        ("marked.txt", b"one\nsay <s> two\n", r"marked.txt, line 2: <s> stands in the text"),
        ("latin.txt", "one\ncafé\n".encode("latin-1"), r"latin.txt cannot be read after line \d: 'utf-8' codec"),
        ("cut.gz", gzip.compress(b"one\n" * 1000, mtime=0)[:-9], "cut.gz cannot be read after line"),
        ("cut.xz", lzma.compress(b"one\n" * 1000)[:-9], "cut.xz cannot be read after line"),
        ("no.gz", b"one", "no.gz cannot be read after line 0: Not a gzipped file"),
        ("no.bz2", b"one two three four", "no.bz2 cannot be read after line 0: Invalid data"),
        ("no.xz", b"one", "no.xz cannot be read after line 0"),
    ],
)
def test_text_that_cannot_be_used_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        read_text([tmp_path / name])


@pytest.mark.parametrize("word", ENDS)
def test_the_models_own_words_are_refused(word: str, tmp_path: Path) -> None:
    for raw in (True, False):
        with pytest.raises(CorpusError, match=f"line 1: {word} stands in the text"):
            read_text([written(tmp_path, [["a", word]])], raw=raw)


def test_more_text_than_indices_count_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, [["a", "b"]])
    monkeypatch.setattr(ngram_text, "MAX_TOKENS", 4)
    assert read_text([path]).n_words == 2
    monkeypatch.setattr(ngram_text, "MAX_TOKENS", 3)
    with pytest.raises(CorpusError, match="4 words and sentence ends; at most 3"):
        read_text([path])


@pytest.mark.parametrize(
    ("order", "prune", "message"),
    [
        (1, (0,), "order is 1; it must lie in 2..6"),
        (7, (0,), "order is 7; it must lie in 2..6"),
        (2, (0, 0, 1), "prune has 3 thresholds; there must be 1 to 2"),
        (3, (), "prune has 0 thresholds"),
        (3, (1,), "prune begins with 1; unigrams all stay"),
        (3, (0, 2, 1), r"prune is \(0, 2, 1\); a threshold must not be lower"),
    ],
)
def test_options_out_of_range_are_refused(order: int, prune: tuple[int, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        NgramConfig(order, prune)


def test_a_fallback_says_for_which_order_it_was_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = read_text([written(tmp_path, [["a", "b"], ["b"]])])
    model = estimate(tokens, NgramConfig(2, discount_fallback=True))
    assert model.discounts == ((0.5, 1.0, 1.5), (0.5, 1.0, 1.5))
    assert "no 1-gram has adjusted count 3; taken instead: 0.5, 1, 1.5" in caplog.text
    assert "no 2-gram has adjusted count 3; taken instead" in caplog.text


def test_progress_is_told_to_its_end(tmp_path: Path) -> None:
    tokens = read_text([written(tmp_path, [["a", "b"], ["b"]])])
    seen: list[tuple[int, int]] = []
    model = estimate(tokens, NgramConfig(3, discount_fallback=True), progress=lambda *at: seen.append(at))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    seen.clear()
    write_arpa(model, tmp_path / "model.arpa", progress=lambda *at: seen.append(at))
    assert seen == [(5, 12), (9, 12), (12, 12)]  # the words and 3 special ones; four bigrams; three trigrams


def test_a_model_is_the_same_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = read_text([written(tmp_path, [["a", "b", "c", "d"], ["b"]])])
    model = estimate(tokens, NgramConfig(3, discount_fallback=True))
    write_arpa(model, tmp_path / "whole.arpa")
    monkeypatch.setattr(arpa, "_NGRAMS_AT_ONCE", 3)
    seen: list[tuple[int, int]] = []
    write_arpa(model, tmp_path / "pieces.arpa", progress=lambda *at: seen.append(at))
    assert (tmp_path / "whole.arpa").read_bytes() == (tmp_path / "pieces.arpa").read_bytes()
    assert [done for done, _ in seen] == [3, 6, 7, 10, 13, 14, 17, 19]


def test_a_packed_model_is_the_same_model_and_kenlm_reads_it(tmp_path: Path) -> None:
    tokens = read_text([written(tmp_path, [["a", "b"], ["b"]])])
    model = estimate(tokens, NgramConfig(2, discount_fallback=True))
    write_arpa(model, tmp_path / "new" / "model.arpa")
    write_arpa(model, tmp_path / "model.arpa.gz")
    assert gzip.decompress((tmp_path / "model.arpa.gz").read_bytes()) == (tmp_path / "new/model.arpa").read_bytes()
    assert (tmp_path / "model.arpa.gz").read_bytes()[4:8] == bytes(4)  # no time in it: the same every time
    scores = [KenLMScorer(path, ["a", "b"]).score(["b", "a"]) for path in tmp_path.rglob("model.arpa*")]
    assert len(scores) == 2 and scores[0] == scores[1]


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_a_full_disk_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    rng = random.Random(1)
    text = [["".join(rng.choices(string.ascii_lowercase, k=20)) for _ in range(400)]]
    model = estimate(read_text([written(tmp_path, text)]), NgramConfig(2, discount_fallback=True))
    (tmp_path / name).write_text("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError, match=rf"{name} cannot be written: File too large; what was there before"):
            write_arpa(model, tmp_path / name)
        with pytest.raises(StorageError, match=r"words.txt cannot be written: File too large"):
            write_words(text[0], tmp_path / "words.txt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / name).read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == sorted([name, "text.txt"])


def test_a_model_is_built_attached_and_transcribed_with(synthetic_clips: list[SpokenClip], tmp_path: Path) -> None:
    """As a person types it; the text is what the clips say, and two lines that have to be left out."""
    sentences = [clip.transcript for clip in synthetic_clips]
    lines = [*(f"{sentence.capitalize()}." for sentence in sentences), "In 1930,", *sentences, "in 1930"]
    (tmp_path / "novels.txt.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    model, words = tmp_path / "lm.arpa", tmp_path / "words.txt"
    options = ("--order", 3, "--prune", 0, 0, 1, "--vocab-size", 50_000, "--discount-fallback")
    built = cepstra("lm", "build", tmp_path / "novels.txt.xz", *options, "--out", model, "--words-out", words)
    assert built.returncode == 0, built.stderr
    assert "2 of 14 lines left out" in built.stderr
    lexicon = words.read_text().splitlines()
    assert lexicon[0] == "the"
    assert sorted(lexicon) == sorted(set(" ".join(sentences).lower().split()))
    assert built.stdout.startswith(f"{model}: {len(lexicon)} words, ")
    assert ("put", "the", "blue") in WrittenModel(model).ngrams

    attached = cepstra(
        *("lm", "attach", SHIPPED_BUNDLE, model, words, "--out", tmp_path / "bundle", "--lm-weight", 2.5),
        *("--word-bonus", 0),
    )
    assert attached.returncode == 0, attached.stderr
    (river,) = (clip for clip in synthetic_clips if clip.id == "river")
    heard = Transcriber.from_bundle(tmp_path / "bundle").transcribe(decode_audio(river.path))
    assert heard.text == river.transcript.lower()


def test_what_is_piped_in_is_read_and_refusals_are_one_line(tmp_path: Path) -> None:
    command = ("lm", "build", "-", "--order", 2, "--out", tmp_path / "lm.arpa")
    refused = cepstra(*command, typed="Ja, ja.\n")
    assert refused.returncode == 1
    assert refused.stderr.startswith("cepstra: no 1-gram has adjusted count")
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "lm.arpa").exists()
    built = cepstra(*command, "--raw", "--discount-fallback", typed="Ja, ja.\n")
    assert built.returncode == 0, built.stderr
    assert {("Ja,",), ("ja.",), ("Ja,", "ja.")} < WrittenModel(tmp_path / "lm.arpa").ngrams.keys()


def written(folder: Path, sentences: Iterable[Sequence[str]]) -> Path:
    """A text file of sentences."""
    (folder / "text.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in sentences))
    return folder / "text.txt"


def cepstra(*arguments: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        input=typed,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
