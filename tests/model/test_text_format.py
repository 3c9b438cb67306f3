"""Numbers, dates, money and capitals as people write them, and the times of the words that they stand for."""

from dataclasses import replace

import pytest

from model.found_numbers import PAUSE_S
from model.hot_words import HotWords
from model.text_format import format_transcript
from model.transcript import Alternative, Segment, Token, Transcript, Word


def spoken(*sentences: str) -> Transcript:
    """Each sentence a segment; `|` in it is a pause. Each word is less certain than the one before."""
    segments, now_s, n_words = [], 0.0, 0
    for number, sentence in enumerate(sentences):
        words = []
        for text in sentence.split():
            if text == "|":
                now_s += PAUSE_S
                continue
            words.append(Word(text, now_s, now_s + 0.2, 0.99**n_words))
            now_s, n_words = now_s + 0.25, n_words + 1
        tokens = (Token("x", 3, words[0].start_s, -0.1),)
        text = " ".join(word.text for word in words)
        segments.append(Segment(number, words[0].start_s, words[-1].end_s, text, tuple(words), tokens, -0.1, 0.0))
        now_s += 1
    return Transcript(" ".join(segment.text for segment in segments), tuple(segments), now_s)


def check(said: str, written: str) -> None:
    transcript = format_transcript(spoken(said))
    assert transcript.text == written
    assert " ".join(word.text for word in transcript.words) == written


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("he was born in nineteen eighty four they say", "He was born in 1984 they say"),
        ("nineteen oh five and nineteen o six", "1905 and 1906"),
        ("in eighteen hundred and twelve", "In 1812"),
        ("twenty twelve was two thousand and twelve", "2012 was 2012"),
        ("on may thirty first eighteen sixty three it rained", "On May 31, 1863 it rained"),
        ("on march first", "On March 1"),
        ("the third of may came", "The 3rd of May came"),
        ("in may eighteen sixty three", "In May 1863"),
        ("she may march in august", "She may march in august"),
        ("monday the second of january", "Monday the 2nd of January"),
        ("it cost twenty five dollars", "It cost $25"),
        ("two dollars and thirty cents or one dollar five cents", "$2.30 or $1.05"),
        ("five million dollars for two euros", "$5 million for €2"),
        ("thirty cents", "30 cents"),
        ("two point five percent and five per cent", "2.5% and 5%"),
        ("twelve thousand five hundred men and eighteen hundred more", "12,500 men and 1800 more"),
        ("three million two hundred thousand", "3,200,000"),
        ("call five five five one two now", "Call 55512 now"),
        ("one of us and no one else", "One of us and no one else"),
        ("wait a second on the first of all days", "Wait a second on the first of all days"),
        ("the twenty first century", "The 21st century"),
        ("twenty | five", "20 five"),
        ("nineteen | eighty four", "19 84"),
        ("the first of may nineteen forty five came", "The 1st of May 1945 came"),
        ("the twenty fifth of december eighteen hundred", "The 25th of December 1800"),
        ("the first of may ten men came", "The 1st of May 10 men came"),
        ("in the nineteen sixties and the eighteen forties", "In the 1960s and the 1840s"),
        ("she was in her twenties in the sixties", "She was in her twenties in the sixties"),
        ("with thousands of men and hundreds of thousands", "With thousands of men and hundreds of thousands"),
        ("a hundred men gave a thousand thanks", "A hundred men gave a thousand thanks"),
        ("a hundred and one for several hundred thousand", "101 for several hundred thousand"),
        ("it cost a million dollars", "It cost $1 million"),
        ("half a million dollars or several hundred dollars", "Half a million dollars or several hundred dollars"),
        ("a hundred dollar bill and hundred dollar bills", "A $100 bill and $100 bills"),
        ("one and a half million", "One and a half million"),
        ("two or three hundred of ten or fifteen thousand", "Two or three hundred of ten or fifteen thousand"),
        ("fifty thousand or one hundred thousand", "50,000 or 100,000"),
        ("four and twenty in the two and twentieth year", "Four and twenty in the two and twentieth year"),
        ("between five and twenty five", "Between five and 25"),
        ("one hundredth of a second for the hundredth time", "One hundredth of a second for the hundredth time"),
        ("point five percent and zero point five percent", "Point five percent and 0.5%"),
        ("you may ten times and they march second in line", "You may 10 times and they march second in line"),
        ("on may third and early march nineteen twelve", "On May 3 and early March 1912"),
        ("twenty four seven and fifty fifty", "Twenty four seven and fifty fifty"),
        ("come at ten thirty or at seven forty five", "Come at 10:30 or at 7:45"),
        ("ten a m to eight forty five p m", "10 a.m. to 8:45 p.m."),
        ("it is seven thirty", "It is seven thirty"),
        ("call one eight hundred five five five one two one two", "Call 1-800-555-1212"),
        ("call two one two five five five oh one nine nine", "Call 212-555-0199"),
        ("oh two oh seven nine four six", "020-7946"),
        ("room two oh five | one two", "Room 205 one two"),
        ("one two three go", "One two three go"),
        ("one two three hundred", "One two three hundred"),
        ("oh one of them and o two others", "Oh one of them and o two others"),
        ("i said i'm here", "I said I'm here"),
        ("nothing to write", "Nothing to write"),
    ],
)
def test_what_is_said_and_what_is_written(said: str, written: str) -> None:
    check(said, written)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("on november eleven nineteen eighteen", "On November 11, 1918"),
        ("july twelve eighteen sixty three", "July 12, 1863"),
        ("on may fifteen nineteen forty five", "On May 15, 1945"),
        ("october twelve fourteen ninety two", "October 12, 1492"),
        ("on january twenty twenty twenty one", "On January 20, 2021"),
        ("on november eleventh nineteen oh five", "On November 11, 1905"),
        ("june twelve two thousand and six", "June 12, 2006"),
        ("in november nineteen eighteen", "In November 1918"),
        ("in november eleven men came", "In November 11 men came"),
        ("in january three men came", "In January three men came"),
        ("by september one of us had left", "By September one of us had left"),
        ("in april second graders came", "In April second graders came"),
        ("by june one it was done", "By June 1 it was done"),
        ("on the night of january one", "On the night of January 1"),
        ("in january twenty twenty", "In January 2020"),
    ],
)
def test_a_day_that_could_be_a_century_is_a_day_before_a_year(said: str, written: str) -> None:
    check(said, written)


@pytest.mark.parametrize(
    "said",
    [
        "It is eleven thirty",
        "By eleven thirty",
        "From twelve fifteen",
        "By fifteen twenty",
        "After seventeen eighteen",
        "From nineteen twenty minutes",
        "After eighteen nineteen days",
        "The twelve fifteen train",
        "Fifteen twenty minutes",
        "In fifteen twenty minutes",
        "Nineteen eighty minutes",
        "Fifteen twenty percent",
        "Fifteen twenty per cent",
        "Fifteen twenty dollars",
        "Nineteen ninety nine dollars",
        "At ten fifteen percent",
        "Eleven twelve thirteen",
        "Eighteen nineteen twenty twenty one",
        "Children of eleven twelve",
        "Eleven twelve years old",
        "At ten oh five percent",
        "The eleven oh five train",
    ],
)
def test_times_and_counts_are_no_years(said: str) -> None:
    check(said.lower(), said)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("at five oh five", "At 5:05"),
        ("five oh five p m", "5:05 p.m."),
        ("ten oh five a m", "10:05 a.m."),
        ("until ten o five", "Until 10:05"),
        ("ten fifteen in the morning and ten fifteen in the box", "10:15 in the morning and ten fifteen in the box"),
        ("call me at five oh five five five one two", "Call me at 505-5512"),
        ("in twelve fifteen", "In 1215"),
        ("in nineteen twenty", "In 1920"),
        ("by nineteen twenty", "By 1920"),
        ("it was nineteen twenty when he came", "It was 1920 when he came"),
        ("from nineteen twenty to nineteen thirty", "From 1920 to 1930"),
        ("from eighteen nineteen until nineteen twenty", "From 1819 until 1920"),
        ("between eighteen nineteen and twenty twenty", "Between 1819 and 2020"),
        ("the year eleven sixty", "The year 1160"),
        ("fourteen ninety two and twenty twenty one", "1492 and 2021"),
        ("june fifteen sixteen and nineteen", "June 15 sixteen and 19"),
    ],
)
def test_times_of_day_and_years(said: str, written: str) -> None:
    check(said, written)


@pytest.mark.parametrize(
    "said",
    [
        "Five to six thousand dollars",
        "Ten to fifteen thousand dollars",
        "From ten to twenty million dollars",
        "Between ten and fifteen thousand dollars",
        "Between two and three hundred",
        "Two to three hundred",
        "From fifty to sixty thousand people",
        "Two to three hundred percent",
        "Ten to twenty dollars",
        "Between five hundred and a thousand dollars",
        "Ten or twenty euros",
    ],
)
def test_what_is_said_once_of_both_ends_of_a_range_stays_words(said: str) -> None:
    check(said.lower(), said)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("fifty to one hundred men", "50 to 100 men"),
        ("ten to twenty percent", "10 to 20%"),
        ("ten thousand to twelve thousand men", "10,000 to 12,000 men"),
        ("from nineteen ninety to two thousand", "From 1990 to 2000"),
    ],
)
def test_ranges_whose_ends_say_all(said: str, written: str) -> None:
    check(said, written)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("a thirty second pause", "A thirty second pause"),
        ("a ninety second video of it", "A ninety second video of it"),
        ("a forty second of silence", "A forty second of silence"),
        ("wait sixty second", "Wait sixty second"),
        ("every thirty second", "Every thirty second"),
        ("a hundred second run", "A hundred second run"),
        ("the thirty second floor", "The 32nd floor"),
        ("on the forty second", "On the 42nd"),
        ("twenty second century people on forty second street", "22nd century people on 42nd street"),
        ("on december twenty second", "On December 22"),
        ("the twenty second of may", "The 22nd of May"),
        ("at the thirty second mark", "At the thirty second mark"),
        ("the sixty second rule and the twenty second delay", "The sixty second rule and the twenty second delay"),
        ("the last thirty second of it", "The last thirty second of it"),
        ("the forty second president on his sixty second birthday", "The 42nd president on his 62nd birthday"),
        ("the thirty second is the twenty second july", "The 32nd is the 22nd July"),
        ("the thirty second | mark", "The 32nd mark"),
    ],
)
def test_seconds_are_no_ordinals(said: str, written: str) -> None:
    check(said, written)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("five dollars fifty", "$5.50"),
        ("one dollar ninety nine", "$1.99"),
        ("five dollars fifty for it and two dollars ten people", "$5.50 for it and $2 ten people"),
        ("twenty dollars ten times", "$20 ten times"),
        ("five dollars twenty minutes later", "$5 twenty minutes later"),
        ("five dollars ten dollars", "$5 $10"),
        ("five dollars | fifty", "$5 50"),
        ("a dollar fifty", "A dollar fifty"),
        ("five million dollars and thirty cents", "$5 million and 30 cents"),
        ("one point five dollars", "$1.50"),
        ("one point two five dollars for one point two five nine euros", "$1.25 for €1.259"),
        ("twelve point oh five percent", "12.05%"),
        ("twelve point oh oh five", "12.005"),
        ("point oh five percent", "Point oh five percent"),
        ("two point oh my god", "Two point oh my God"),
        ("two point oh oh dear", "Two point oh oh dear"),
        ("version two point oh is out", "Version 2.0 is out"),
        ("two point oh percent for two point oh dollars", "2.0% for $2.00"),
    ],
)
def test_amounts_with_cents_and_decimals(said: str, written: str) -> None:
    check(said, written)


@pytest.mark.parametrize(
    "said",
    [
        "Tens of thousands",
        "The twenty tens",
        "Twenty twenty vision",
        "Ten twenty thirty",
        "Apollo thirteen nineteen seventy",
        "At one point two men came",
        "At zero hundred hours",
        "O hundred hours of zero million dollars",
        "Three quarters of a million dollars",
        "Half a million dollar house and a half million dollars",
        "A quarter million dollar multi million dollar deal",
        "A tenth of a second for a twentieth of the price",
        "At two fifty a share",
        "Two four six eight",
        "Nine six three",
        "A hundred years of it",
        "A nine to five job",
        "No one is second to none",
        "Two by two and one of them",
        "Flight seven forty seven",
        "Her early thirties",
        "Twelve fifty dollars",
    ],
)
def test_what_digits_would_get_wrong_stays_words(said: str) -> None:
    check(said.lower(), said)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("on june twenty two thousand and six", "On June 20, 2006"),
        ("till may thirty two thousand one", "Till May 30, 2001"),
        ("june twenty two thousand people", "June 22,000 people"),
        ("the nineteen twenties in the twentieth century", "The 1920s in the 20th century"),
        ("the first twenty percent of ten men", "The first 20% of 10 men"),
        ("nine one one in room one oh one", "911 in room 101"),
        ("from nine a m to five p m", "From 9 a.m. to 5 p.m."),
        ("twelve oh one in the morning", "12:01 in the morning"),
        ("two thousand one and the two thousand twelve games", "2001 and the 2012 games"),
        ("from june nineteen forty to july nineteen forty one", "From June 1940 to July 1941"),
        ("one in ten or nine out of ten", "One in 10 or nine out of 10"),
        ("a five hundred dollar fine", "A $500 fine"),
        ("an eighteenth century house", "An 18th century house"),
        ("three point one four one five nine", "3.14159"),
        ("nine oh two one oh", "90210"),
        ("fifteen trillion dollars and two trillion euros", "$15 trillion and €2 trillion"),
        ("two trillion five hundred million dollars", "Two trillion five hundred million dollars"),
        ("two point five trillion", "2.5 trillion"),
        ("at one point two percent and at two point five", "At 1.2% and at 2.5"),
        ("zero nine hundred hours", "0900 hours"),
    ],
)
def test_phrases_of_all_kinds(said: str, written: str) -> None:
    check(said, written)


def test_every_segment_is_a_sentence_of_its_own() -> None:
    assert format_transcript(spoken("so it is", "five", "twenty one")).text == "So it is Five 21"


def test_a_number_spans_its_words_and_is_as_certain_as_the_least_of_them() -> None:
    raw = spoken("about one hundred and five dollars today")
    transcript = format_transcript(raw)
    about, amount, today = transcript.words
    assert amount.text == "$105"
    assert (amount.start_s, amount.end_s) == (raw.words[1].start_s, raw.words[5].end_s)
    assert amount.confidence == min(word.confidence for word in raw.words[1:6])
    assert (today.start_s, today.end_s) == (raw.words[6].start_s, raw.words[6].end_s)
    assert about.start_s == 0.0
    assert transcript.tokens == raw.tokens
    assert [(s.start_s, s.end_s) for s in transcript.segments] == [(s.start_s, s.end_s) for s in raw.segments]


def test_hot_words_are_written_as_they_were_given() -> None:
    hot = HotWords(("Birket Foster", "Foster", "Zoë", "Jean-Luc", "McKay"))
    raw = spoken("zoe saw birket foster and jean luc", "foster met mckay in nineteen ten")
    transcript = format_transcript(raw, hot)
    assert transcript.text == "Zoë saw Birket Foster and Jean-Luc Foster met McKay in 1910"
    name = transcript.words[5]
    assert (name.start_s, name.end_s) == (raw.words[5].start_s, raw.words[6].end_s)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("iphone eleven", "iPhone Eleven"),
        ("iphone", "iPhone"),
        ("ten downing street was ten years old", "Ten Downing Street was 10 years old"),
        ("so twenty one pilots sang twenty one songs", "So Twenty One Pilots sang 21 songs"),
        ("five hundred twenty one pilots", "Five hundred Twenty One Pilots"),
        ("twenty seven for seven", "27 for Seven"),
        ("on may third may came", "On May 3 May came"),
        ("eleven iphone", "11 iPhone"),
    ],
)
def test_hot_words_go_before_numbers_that_are_not_more_than_they(said: str, written: str) -> None:
    hot = HotWords(("iPhone", "iPhone Eleven", "Ten Downing Street", "Twenty One Pilots", "Seven", "May"))
    assert format_transcript(spoken(said), hot).text == written


def test_alternatives_of_one_word_are_none_of_a_number() -> None:
    raw = spoken("about nineteen eighty four")
    segment = raw.segments[0]
    words = tuple(replace(word, alternatives=(Alternative("ninety", 0.3),)) for word in segment.words)
    about, year = format_transcript(replace(raw, segments=(replace(segment, words=words),))).words
    assert about.alternatives == words[0].alternatives
    assert (year.text, year.alternatives) == ("1984", ())


def test_nothing_stays_nothing() -> None:
    assert format_transcript(Transcript("", (), 3.0)) == Transcript("", (), 3.0)
