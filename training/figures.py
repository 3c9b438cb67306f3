"""The pictures of a report: what errors depend on, whether confidence can be believed, and how learning went."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from training.breakdown import DURATION_EDGES_S, by_durations, certainty
from training.calibration import expected_calibration_error
from training.charts import Axis, Chart
from training.confusions import align_words
from training.evaluate import UtteranceResult
from training.history import Pass

MOST_DOTS = 1500  # of a scatter, so that a large corpus does not make a large page
MOST_SHOWN_RATE = 1.2  # an utterance that is worse stands at the chart's edge
CONFIDENCE_BINS = 10


@dataclass(frozen=True)
class Figure:
    """A picture with its words.

    Attributes:
        title: what it is.
        svg: the picture.
        caption: how to read it.
    """

    title: str
    svg: Markup
    caption: str


def percent(rate: float, digits: int = 1) -> str:
    """A fraction as it is written: 0.524 → "52.4 %", with a space that does not break."""
    return f"{rate * 100:.{digits}f}\u00a0%"


def _whole_percent(rate: float) -> str:
    return percent(rate, 0)


def duration_figure(results: Sequence[UtteranceResult]) -> Figure:
    """WER against duration: a dot for each utterance, and rate and interval of each range of `by_durations`."""
    every = max(1, -(-len(results) // MOST_DOTS))
    dots = [(result.duration_s, result.words.rate) for result in results[::every]]
    beyond = sum(rate > MOST_SHOWN_RATE for _, rate in dots)
    longest_s = max(max(result.duration_s for result in results), DURATION_EDGES_S[0])
    x = Axis.over("duration, s", (longest_s,), low=0)
    y = Axis.over("WER", (min(MOST_SHOWN_RATE, max(0.05, *(rate for _, rate in dots))),), low=0, number=_whole_percent)
    parts = by_durations(results)
    said = "; ".join(f"{part.label} {percent(part.words.rate)}" for part in parts)
    chart = Chart("duration", "WER against duration", f"WER by duration: {said}.", x, y)
    chart.dots(dots, "dot")
    for part in parts:
        low_s = max((edge_s for edge_s in DURATION_EDGES_S if edge_s <= part.results[0].duration_s), default=0.0)
        high_s = min((edge_s for edge_s in DURATION_EDGES_S if edge_s > low_s), default=x.high)
        rate, sure = part.words.rate, certainty(part.results)
        if sure is not None:
            chart.rectangle((low_s, sure.words.low), (high_s, sure.words.high), "band")
        chart.line([(low_s, rate), (high_s, rate)], "series-a")
        chart.text(((low_s + high_s) / 2, rate), f"{rate * 100:.0f}", "value")
    caption = "A dot is an utterance, a line the WER of all utterances of that range in per cent, a band its interval."
    if every > 1:
        caption += f" One utterance in {every} is drawn."
    if beyond:
        caption += f" Dots at the upper edge ({beyond}) lie above {percent(MOST_SHOWN_RATE, 0)}."
    return Figure("WER against duration", chart.svg(), caption)


def confidence_figure(results: Sequence[UtteranceResult]) -> Figure | None:
    """The share of right words against their confidence; None where no word was recognised."""
    right, seen = [0] * CONFIDENCE_BINS, [0] * CONFIDENCE_BINS
    confidences, hits = [], []
    for result in results:
        heard = [pair for pair in align_words(result.reference, result.hypothesis) if pair.hypothesis]
        for pair, confidence in zip(heard, result.confidences, strict=True):
            place = min(CONFIDENCE_BINS - 1, int(confidence * CONFIDENCE_BINS))
            right[place] += pair.kind == "hit"
            seen[place] += 1
            confidences.append(confidence)
            hits.append(pair.kind == "hit")
    if not sum(seen):
        return None
    bars = [(place / CONFIDENCE_BINS, right[place] / n, n) for place, n in enumerate(seen) if n]
    said = "; ".join(f"from {percent(low, 0)}: {percent(share, 0)} of {n} right" for low, share, n in bars)
    quarters = (0.0, 0.25, 0.5, 0.75, 1.0)
    x = Axis("confidence of a word", 0.0, 1.0, quarters, _whole_percent)
    y = Axis("words that are right", 0.0, 1.0, quarters, _whole_percent)
    error = expected_calibration_error(np.array(confidences), np.array(hits, dtype=float))
    chart = Chart("confidence", "Right words against confidence", f"By confidence, {said}.", x, y)
    gap = 0.008
    for low, share, _ in bars:
        chart.rectangle((low + gap, 0), (low + 1 / CONFIDENCE_BINS - gap, share), "bar")
    chart.line([(0, 0), (1, 1)], "ideal")
    for low, share, n in bars:
        chart.text((low + 0.5 / CONFIDENCE_BINS, share), str(n), "value small")
    return Figure(
        "Can confidence be believed?",
        chart.svg(),
        "A bar is the share of recognised words that are right, the number above it how many words have that "
        "confidence. Bars up to the dashed line mean that confidence says the truth. They are off by "
        f"{percent(error)} in the mean (expected calibration error).",
    )


def learning_figures(history: Sequence[Pass]) -> list[Figure]:
    """Loss, and dev CER and WER, against passes; what was measured fewer than twice is not drawn."""
    figures = []
    losses = [(float(each.epoch), each.loss) for each in history]
    if len(losses) > 1:
        chart = _learning_chart("loss", "Training loss", [("loss", losses)], "nats a unit", "{:g}".format)
        figures.append(Figure("Training loss", chart, "Mean CTC loss of each pass over the training data."))
    wers = [(float(each.epoch), each.dev_wer) for each in history if each.dev_wer is not None]
    cers = [(float(each.epoch), each.dev_cer) for each in history if each.dev_cer is not None]
    rates = [(name, points) for name, points in (("WER", wers), ("CER", cers)) if len(points) > 1]
    if rates:
        chart = _learning_chart("dev", "Error rates on the dev corpus", rates, "error rate", _whole_percent)
        caption = (
            "After each pass, decoded greedily, on as many utterances of the run's own dev corpus as its recipe says."
        )
        figures.append(Figure("Error rates on the run's dev corpus", chart, caption))
    return figures


def _learning_chart(
    name: str,
    title: str,
    series: Sequence[tuple[str, list[tuple[float, float]]]],
    label: str,
    number: Callable[[float], str],
) -> Markup:
    everything = [point for _, points in series for point in points]
    x = Axis.over("pass", [epoch for epoch, _ in everything], whole=True)
    y = Axis.over(label, [value for _, value in everything], low=0, number=number)
    said = "; ".join(
        f"{what} from {first:.3g} after pass {begin:g} to {last:.3g} after pass {end:g}"
        for what, ((begin, first), *_, (end, last)) in series
    )
    chart = Chart(name, title, f"{said}.", x, y)
    for style, (what, points) in zip(("series-a", "series-b"), series, strict=False):
        chart.line(points, style)
        chart.dots(points, f"{style} spot", radius=2.5)
        chart.text(points[-1], what, "value", anchor="end", lift=10)
    return chart.svg()
