import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Chart

UNIT = Axis("x", 0.0, 1.0, (0.0, 0.5, 1.0))
numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(numbers, min_size=1, max_size=5))
def test_an_axis_holds_its_values_with_a_few_round_ticks(values: list[float]) -> None:
    axis = Axis.over("x", values)
    slack = 1e-6 * max(1.0, *map(abs, values))
    assert axis.low <= min(values) + slack and max(values) <= axis.high + slack
    assert 2 <= len(axis.ticks) <= 8
    assert (axis.ticks[0], axis.ticks[-1]) == (axis.low, axis.high)


@given(st.integers(1, 500), st.integers(1, 500))
def test_whole_numbers_have_whole_ticks(first: int, last: int) -> None:
    assert all(tick == int(tick) for tick in Axis.over("pass", [first, last], whole=True).ticks)


def test_an_axis_of_a_single_value_is_not_empty() -> None:
    axis = Axis.over("x", [3.0, 3.0])
    assert axis.low < axis.high


def test_marks_stand_where_their_numbers_say() -> None:
    chart = Chart("n", "t", "d", UNIT, UNIT)
    chart.dots([(0, 0), (1, 1), (0.5, 7.0)], "dot")
    chart.rectangle((0.5, 0.5), (1, 0), "bar")
    chart.line([(0, 0), (1, 1)], "line")
    svg = ElementTree.fromstring(chart.svg())
    left, right, floor = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in svg.iter("circle")]
    assert dots == [(left, floor), (right, TOP), ((left + right) / 2, TOP)]  # what lies beyond stands at the edge
    (bar,) = svg.iter("rect")
    placed = [float(bar.attrib[key]) for key in ("x", "y", "width", "height")]
    assert placed == pytest.approx([(left + right) / 2, (TOP + floor) / 2, (right - left) / 2, (floor - TOP) / 2])
    (line,) = svg.iter("polyline")
    assert [float(number) for number in re.findall(r"[\d.]+", line.attrib["points"])] == [left, floor, right, TOP]


def test_words_are_escaped_and_name_the_picture() -> None:
    hostile = '<script>alert("1")</script>&'
    chart = Chart("n", hostile, hostile, Axis(hostile, 0, 1, (0.0,), lambda _: hostile), UNIT)
    chart.text((0, 0), hostile, hostile)
    chart.dots([(0, 0)], hostile)
    assert "<script" not in chart.svg()
    svg = ElementTree.fromstring(chart.svg())
    assert [node.text for node in svg.iter() if node.text and node.text.strip()].count(hostile) == 5
    named = {node.attrib["id"]: node.text for node in svg if "id" in node.attrib}
    assert [named[name] for name in svg.attrib["aria-labelledby"].split()] == [hostile, hostile]
    assert svg.attrib["role"] == "img"
