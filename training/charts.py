"""Charts as inline SVG: lines, dots, intervals and bars over two axes, without a library and without a script.

Colours and fonts come from the style sheet of the page that a chart stands in, by class, so that it follows light and
dark and its text stays text. Whatever is written in a chart is escaped.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 400, 250  # user units: on a phone, a text of 13 is still 10 pixels high
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 30, 42  # margins
TEXT_GAP = 6

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One axis: what it shows, and from where to where.

    Attributes:
        label: quantity and unit.
        low, high: its ends.
        ticks: where a number stands, in the axis' own unit.
        number: how a number is written.
    """

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    number: Callable[[float], str] = "{:g}".format

    @classmethod
    def over(
        cls,
        label: str,
        values: Sequence[float],
        *,
        low: float | None = None,
        whole: bool = False,
        number: Callable[[float], str] = "{:g}".format,
    ) -> "Axis":
        """An axis around all `values` (one at least, finite) with about five ticks at round numbers.

        Args:
            label: as above.
            values: what has to lie on it.
            low: where it begins; None for the tick at or below the least value.
            whole: put ticks at whole numbers only.
            number: as above.
        """
        first, last = min(values) if low is None else low, max(values)
        last = last if last > first else first + 1
        rough = (last - first) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
        step = math.ceil(step) if whole else step
        begin, end = math.floor(first / step + 1e-9), math.ceil(last / step - 1e-9)
        ticks = tuple(round(index * step, 10) for index in range(begin, end + 1))
        return cls(label, first if low is not None else ticks[0], ticks[-1], ticks, number)


class Chart:
    """A picture that marks are added to, in the order in which they are painted.

    Args:
        name: a word that is unique on the page: the picture's title and description refer to it.
        title: what the picture is, for those who do not see it.
        description: what can be seen in it, in a sentence or two.
        x, y: the axes.
    """

    def __init__(self, name: str, title: str, description: str, x: Axis, y: Axis) -> None:
        self._name, self._title, self._description = name, title, description
        self._x, self._y = x, y
        self._marks: list[Markup] = []

    def dots(self, points: Sequence[Point], style: str, *, radius: float = 2.5) -> None:
        """A dot at each point; one beyond an axis stands at its edge."""
        for x, y in points:
            mark = Markup('<circle class="{}" cx="{}" cy="{}" r="{:g}"/>')
            self._marks.append(mark.format(style, self._left(x), self._top(y), radius))

    def line(self, points: Sequence[Point], style: str) -> None:
        """A line through the points."""
        path = " ".join(f"{self._left(x)},{self._top(y)}" for x, y in points)
        self._marks.append(Markup('<polyline class="{}" points="{}"/>').format(style, path))

    def rectangle(self, first: Point, last: Point, style: str) -> None:
        """A filled rectangle between two opposite corners."""
        (x0, x1), (y0, y1) = sorted((first[0], last[0])), sorted((first[1], last[1]))
        left, top = self._left(x0), self._top(y1)
        mark = Markup('<rect class="{}" x="{}" y="{}" width="{:g}" height="{:g}"/>')
        width, height = round(self._left(x1) - left, 1), round(self._top(y0) - top, 1)
        self._marks.append(mark.format(style, left, top, width, height))

    def text(self, at: Point, words: str, style: str = "", *, anchor: str = "middle", lift: float = TEXT_GAP) -> None:
        """Words above a point, by `lift` user units."""
        mark = Markup('<text class="{}" x="{}" y="{:g}" text-anchor="{}">{}</text>')
        self._marks.append(mark.format(style, self._left(at[0]), round(self._top(at[1]) - lift, 1), anchor, words))

    def svg(self) -> Markup:
        """The picture, to be put into HTML as it is."""
        head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{n}-title {n}-text">')
        title = Markup('<title id="{n}-title">{}</title><desc id="{n}-text">{}</desc>')
        parts = [
            head.format(WIDTH, HEIGHT, n=self._name),
            title.format(self._title, self._description, n=self._name),
            *self._axes(),
            *self._marks,
            Markup("</svg>"),
        ]
        return Markup("\n").join(parts)

    def _axes(self) -> list[Markup]:
        right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = []
        for tick in self._y.ticks:
            line = Markup('<path class="grid" d="M{} {y}H{}"/>')
            parts.append(line.format(LEFT, right, y=self._top(tick)))
            number = Markup('<text class="tick" x="{}" y="{:g}" text-anchor="end">{}</text>')
            parts.append(number.format(LEFT - TEXT_GAP, self._top(tick) + 4, self._y.number(tick)))
        for tick in self._x.ticks:
            number = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
            parts.append(number.format(self._left(tick), floor + 16, self._x.number(tick)))
        parts.append(Markup('<path class="axis" d="M{} {y}H{}"/>').format(LEFT, right, y=floor))
        label = Markup('<text class="label" x="{}" y="{}" text-anchor="{}">{}</text>')
        parts.append(label.format(0, 14, "start", self._y.label))
        parts.append(label.format(right, HEIGHT - 7, "end", self._x.label))
        return parts

    def _left(self, x: float) -> float:
        return round(LEFT + _share(x, self._x) * (WIDTH - LEFT - RIGHT), 1)

    def _top(self, y: float) -> float:
        return round(TOP + (1 - _share(y, self._y)) * (HEIGHT - TOP - BOTTOM), 1)


def _share(value: float, axis: Axis) -> float:
    """Where a value lies on its axis, 0..1; one beyond it lies at its end."""
    return min(1.0, max(0.0, (value - axis.low) / (axis.high - axis.low)))
