"""Small back-off language models, as ARPA files."""

from collections.abc import Mapping

Bigrams = Mapping[tuple[str, str], float]


def arpa(unigrams: Mapping[str, float], bigrams: Bigrams, backoffs: Mapping[str, float] | None = None) -> str:
    """The file's text, of log10 probabilities; a missing back-off weight is 0. KenLM wants a bigram at least."""
    weights = backoffs or {}
    return "\n".join(
        [
            "\\data\\",
            f"ngram 1={len(unigrams)}",
            f"ngram 2={len(bigrams)}",
            "",
            "\\1-grams:",
            *(f"{score}\t{word}\t{weights.get(word, 0.0)}" for word, score in unigrams.items()),
            "",
            "\\2-grams:",
            *(f"{score}\t{first} {second}" for (first, second), score in bigrams.items()),
            "",
            "\\end\\",
            "",
        ]
    )


def word_list_arpa(*words: str) -> str:
    """A model of a few words, the earlier the likelier; the first one likely begins a sentence."""
    special = {"<s>": -99.0, "</s>": -1.0, "<unk>": -2.0}
    return arpa(special | {word: -0.5 - 0.1 * at for at, word in enumerate(words)}, {("<s>", words[0]): -0.3})
