"""Transcripts for people: sentence case, and numbers, dates and money in digits. Raw words stay the default.

A number that was several words becomes one word of the transcript, which begins with the first of them, ends with the
last, and is as certain as the least certain. It has no alternatives: those of its words would stand for all of it. The
acoustic units (`Segment.tokens`) stay as they were recognised.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from model.found_numbers import PAUSE_S, Spoken, Written
from model.hot_words import HotWords, plain_words
from model.spoken_dates import MONTHS
from model.spoken_numbers import write_numbers
from model.transcript import Segment, Transcript, Word

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# Written with a capital wherever they stand. May, March and August are words too; dates have theirs from the numbers.
CAPITALS = {
    **{word: word.title() for word in (*DAYS, *MONTHS, "english", "american", "mr", "mrs", "christmas", "god")},
    **{word: word.capitalize() for word in ("i", "i'm", "i'll", "i've", "i'd")},
}
for _ambiguous in ("may", "march", "august"):
    del CAPITALS[_ambiguous]


def format_transcript(transcript: Transcript, hot_words: HotWords | None = None) -> Transcript:
    """The same transcript as people write it; times stay, and every word of the text is a word with times.

    Args:
        transcript: as `Transcriber.transcribe` gives it.
        hot_words: what it was made with; where they are found they are written as they were given, also at the start
            of a segment (iPhone) and of numbers (Ten Downing Street), unless a number has more words than they.
    """
    terms = {plain_words(term): " ".join(term.split()) for term in (hot_words.terms if hot_words else ())}
    segments = tuple(_format(segment, terms) for segment in transcript.segments)
    return replace(transcript, text=" ".join(segment.text for segment in segments), segments=segments)


def _format(segment: Segment, terms: dict[tuple[str, ...], str]) -> Segment:
    words = segment.words
    pauses = [
        False,
        *(after.start_s - before.end_s >= PAUSE_S for before, after in pairwise(words)),
    ]
    spoken = [Spoken(word.text, pause) for word, pause in zip(words, pauses, strict=True)]
    numbers = write_numbers(spoken)
    names = [  # none within a number: "Seven" is no name in "twenty seven"
        name
        for name in _names([word.text for word in words], terms)
        if not any(set(_places(name)) < set(_places(number)) for number in numbers)
    ]
    taken = {place for name in names for place in _places(name)}
    numbers = [number for number in numbers if taken.isdisjoint(_places(number))]
    formatted = [word for written in _in_order([*numbers, *names], len(words)) for word in _spread(written, words)]
    if formatted and all(name.first for name in names):
        formatted[0] = replace(formatted[0], text=formatted[0].text[:1].upper() + formatted[0].text[1:])
    return replace(segment, text=" ".join(word.text for word in formatted), words=tuple(formatted))


def _names(texts: Sequence[str], terms: dict[tuple[str, ...], str]) -> Iterable[Written]:
    """Where the terms are, the longest first where several begin."""
    at = 0
    while at < len(texts):
        found = [term for term in terms if tuple(texts[at : at + len(term)]) == term]
        longest = max(found, key=len, default=None)
        if longest is not None:
            yield Written(at, at + len(longest), terms[longest])
        at += len(longest or " ")


def _places(written: Written) -> range:
    return range(written.first, written.end)


def _in_order(rewritten: list[Written], n_words: int) -> Iterable[Written | int]:
    """What is written anew, and the places of the words in between."""
    at = 0
    for written in sorted(rewritten, key=lambda one: one.first):
        yield from range(at, written.first)
        yield written
        at = written.end
    yield from range(at, n_words)


def _spread(written: Written | int, words: Sequence[Word]) -> Iterable[Word]:
    """The word or words that stand for what is written: one for each word of it where there are as many."""
    if isinstance(written, int):
        word = words[written]
        return [replace(word, text=CAPITALS.get(word.text, word.text))]
    original, texts = words[written.first : written.end], written.text.split(" ")
    if len(texts) == len(original):
        return [replace(word, text=text) for word, text in zip(original, texts, strict=True)]
    certain = min(word.confidence for word in original)
    merged = replace(original[0], text=written.text, end_s=original[-1].end_s, confidence=certain, alternatives=())
    return [merged]
