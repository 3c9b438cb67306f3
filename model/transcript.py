"""What the recogniser says: words with times and confidence, grouped into segments.

Times are seconds from the start of the audio. Confidences are probabilities in 0..1.
"""

from dataclasses import dataclass

MOST_ALTERNATIVES = 20  # that are kept of a word


@dataclass(frozen=True, slots=True)
class Alternative:
    """What else may have been said in the place of a word.

    Attributes:
        text: a word, or several with single spaces between; empty if the word may not have been said at all.
        share: of the best hypotheses, weighted by their scores, that have it there, 0..1.
    """

    text: str
    share: float


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word.

    Attributes:
        text: the word, lower case.
        start_s: when it begins, seconds.
        end_s: when it ends, seconds; never before `start_s`.
        confidence: probability that the word is right, 0..1; as far as the bundle knows how sure its model may be
            (`model.confidence`), otherwise the geometric mean of its letters' posteriors.
        alternatives: what else the search would have written there, the likeliest first; empty unless asked for.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)  # there are 100 000 in a transcript of three hours
class Token:
    """One unit of the acoustic model (a character) as it was recognised.

    Attributes:
        text: the unit as text; a word boundary is a space.
        id: its index in the tokenizer's vocabulary, 1..V-1 (0 is the CTC blank and never stands here).
        start_s: time of the unit's first frame, seconds.
        logprob: mean natural-log posterior over the unit's frames, at most 0.
    """

    text: str
    id: int
    start_s: float
    logprob: float


@dataclass(frozen=True)
class Segment:
    """Words that belong together: a stretch of speech between pauses.

    Attributes:
        id: 0, 1, 2 … in order of time.
        start_s, end_s: seconds.
        text: the words joined by single spaces.
        words: the words, in order.
        tokens: the acoustic units, in order.
        avg_logprob: mean of the tokens' `logprob`, at most 0.
        no_speech_prob: probability that nobody speaks in the segment and the seconds around it, 0..1; see
            `model.rejection`.
    """

    id: int
    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...]
    tokens: tuple[Token, ...]
    avg_logprob: float
    no_speech_prob: float

    @property
    def confidence(self) -> float:
        """The share of its words that can be expected to be right, 0..1."""
        return sum(word.confidence for word in self.words) / max(1, len(self.words))


@dataclass(frozen=True)
class Transcript:
    """The answer to one audio.

    Attributes:
        text: all words joined by single spaces; empty where nothing was said.
        segments: in order of time; empty where nothing was said.
        duration_s: length of the decoded audio, seconds.
        language: ISO-639-1 code of the model's language.
    """

    text: str
    segments: tuple[Segment, ...]
    duration_s: float
    language: str = "en"

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, in order of time."""
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All acoustic units, in order of time."""
        return tuple(token for segment in self.segments for token in segment.tokens)
