"""What hot words do: recall of rare names, and what they cost where none is said.

usage: python -m benchmarks.hot_words [--boost B …] [--each N]

Clips of dev-clean are transcribed without hot words and with those that somebody might have given: for every chapter,
the words of its transcripts that the lexicon lacks or has in its rarer half. Each clip thus has the names of its whole
chapter, most of which are not said in it. Printed for each boost: the share of the names that were found where they
are said, false alarms, and the word error rate of the clips with and without a name.
"""

import argparse
import csv
import time
from collections import Counter, defaultdict
from pathlib import Path

import jiwer
import torch
from torch import Tensor

from features.audio import decode_audio
from model.beam_search import BeamSearch
from model.hot_words import LARGEST_BOOST, MOST_TERMS, HotWords
from model.searches import make_search
from model.shipped import SHIPPED_BUNDLE
from model.tokenizer import Tokenizer
from model.transcriber import Transcriber

Heard = tuple[str, str, Tensor]  # chapter, what is said, log-probs
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "librispeech"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boost", type=float, nargs="+", default=[2.0, 5.0, 8.0, 12.0])
    parser.add_argument("--each", type=int, default=4, help="every n-th utterance of dev-clean")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of a manifest with dev-clean in it")
    arguments = parser.parse_args()
    transcriber = Transcriber.from_bundle(arguments.bundle, greedy=True, threads=torch.get_num_threads())
    bundle = transcriber.bundle
    if bundle.language_model is None:
        parser.error(f"{bundle.name} has no language model")
    search = make_search(bundle)
    assert search is not None
    common = {word.lower() for word in bundle.language_model.words[: len(bundle.language_model.words) // 2]}

    with open(arguments.data / "manifest.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [row for row in rows if row["subset_or_note"] == "dev-clean"]
    names: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        rare = [word for word in row["transcript"].lower().split() if word not in common and len(word) > 2]
        names[chapter(row["id"])].update(rare)
    terms = {at: tuple(word for word, _ in counted.most_common(MOST_TERMS)) for at, counted in names.items()}

    heard: list[Heard] = []
    for row in rows[:: arguments.each]:
        log_probs_SV = transcriber.log_probs(decode_audio(arguments.data / row["path"]))
        heard.append((chapter(row["id"]), row["transcript"].lower(), log_probs_SV))
    n_terms = sum(map(len, terms.values())) / len(terms)
    print(f"{bundle.name}: {len(heard)} clips, {n_terms:.0f} hot words for each chapter on average")
    print("boost  recall         false alarms  WER with names  WER without  search s  making ms")
    for boost in (None, *arguments.boost):
        print(row_of(bundle.tokenizer, search, heard, terms, boost))


def row_of(
    tokenizer: Tokenizer,
    search: BeamSearch,
    heard: list[Heard],
    terms: dict[str, tuple[str, ...]],
    boost: float | None,
) -> str:
    """One line of the table; `boost` None is without hot words."""
    found = said = alarms = 0
    pairs: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    making_s = searching_s = 0.0
    for at, reference, log_probs_SV in heard:
        began = time.perf_counter()
        hot = search if boost is None else search.with_hot_words(HotWords(terms[at], min(boost, LARGEST_BOOST)))
        making_s += time.perf_counter() - began
        units = hot.decode(log_probs_SV)
        searching_s += time.perf_counter() - began
        text = " ".join(tokenizer.decode([unit.id for unit in units]).split())
        wanted = Counter(word for word in reference.split() if word in terms[at])
        got = Counter(word for word in text.split() if word in terms[at])
        found += sum((wanted & got).values())
        said += sum(wanted.values())
        alarms += sum((got - wanted).values())
        pairs[bool(wanted)].append((reference, text))
    with_names, without = (wer(pairs[kind]) for kind in (True, False))
    name = "none" if boost is None else f"{boost:g}"
    return (
        f"{name:>5}  {found:3d} of {said:3d} {found / max(said, 1):4.0%}  {alarms:12d}  {with_names:14.1%}"
        f"  {without:11.1%}  {searching_s:8.1f}  {1000 * making_s / len(heard):9.1f}"
    )


def wer(pairs: list[tuple[str, str]]) -> float:
    """Word error rate over all pairs of reference and text."""
    return float(jiwer.wer([reference for reference, _ in pairs], [text for _, text in pairs])) if pairs else 0.0


def chapter(utterance: str) -> str:
    """`84-121123` of `84-121123-0003`."""
    return utterance.rpartition("-")[0]


if __name__ == "__main__":
    main()
