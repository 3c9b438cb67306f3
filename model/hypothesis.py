"""What a search finds besides the best: other ways to write the same audio, with what speaks for each."""

from dataclasses import dataclass

from model.decoder import DecodedUnit, Sound


@dataclass(frozen=True)
class Hypothesis:
    """One way to write a stretch of audio with words of the lexicon.

    Attributes:
        words: in order, lower case; none where nothing was said.
        units: the units of the best path that spells them, in order of time, frames counted from the audio's start.
        acoustic_logprob: natural-log probability of that path by the acoustic model, less the search's penalties for
            its blanks and boundaries; at most 0 where these are not negative.
        word_log10probs: log10 probability of each word after those before it, and last that of the sentence's end, by
            the n-gram model; one more than there are words.
        score: what hypotheses are ordered by, the higher the better.
        boost: what of the score is there because hot words were found.
        sounds: of each word, how it was heard; none where it was not searched by its sounds.
    """

    words: tuple[str, ...]
    units: tuple[DecodedUnit, ...]
    acoustic_logprob: float
    word_log10probs: tuple[float, ...]
    score: float
    boost: float = 0.0
    sounds: tuple[tuple[Sound, ...], ...] = ()

    @property
    def text(self) -> str:
        """The words joined by single spaces."""
        return " ".join(self.words)

    @property
    def lm_log10prob(self) -> float:
        """log10 probability of the words as a sentence, by the n-gram model."""
        return sum(self.word_log10probs)


@dataclass(frozen=True)
class NBest:
    """The best ways to write one stretch of audio; no two have the same words.

    Attributes:
        first_frame, end_frame: the stretch, in output frames from the audio's start, `end_frame` excluded; the seconds
            of a frame are `Transcriber.frame_s`.
        hypotheses: the best first; one at least.
    """

    first_frame: int
    end_frame: int
    hypotheses: tuple[Hypothesis, ...]
