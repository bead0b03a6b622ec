"""Templates: values are escaped, numbers are readable, and none is missing."""

import math

import pytest
from jinja2 import UndefinedError

from pipeline.reports.page import render_html
from tests.unit.reports.markup import HOSTILE, Markup, safe

TABLE = '{% from "parts" import table %}{{ table(heads, rows) }}'


def test_text_is_escaped_in_cells_and_in_attributes() -> None:
    found = safe(render_html(TABLE, heads=[HOSTILE], rows=[[HOSTILE]]))
    assert found.text.count(HOSTILE) == 2
    image = '{% from "parts" import image %}{{ image(png, alt) }}'
    assert safe(render_html(image, png=b"1", alt=HOSTILE)).attributes == {"alt", "src"}


def test_a_value_that_a_template_lacks_is_an_error() -> None:
    for template in ("{{ other }}", "{{ record.other }}", '{% extends "page" %}'):
        with pytest.raises(UndefinedError, match=r"other|title"):
            render_html(template, record={})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1350, "1,350"),
        (350.0, "350"),
        (0.01234, "0.0123"),
        (math.inf, "∞"),
        ([0.5, math.inf], "0.5 to ∞"),
        (None, ""),
        ("1350", "1350"),
    ],
)
def test_values_as_pages_show_them(value: object, text: str) -> None:
    assert render_html("{{ value }}", value=value) == text
    assert Markup(render_html(TABLE, heads=["x"], rows=[[value]])).text.split() == [
        "x",
        *text.split(),
    ]
