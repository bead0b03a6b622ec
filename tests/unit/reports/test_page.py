"""Templates: values are escaped, numbers are readable, and none is missing."""

import math

import pytest
from jinja2 import UndefinedError

from bngan.serialization.problem import visible
from pipeline.reports.page import render_html
from tests.unit.reports.markup import HOSTILE, Markup, safe
from tests.unit.reports.names import NASTY

TABLE = '{% from "parts" import table %}{{ table(heads, rows) }}'


def test_text_is_escaped_in_cells_and_in_attributes() -> None:
    found = safe(render_html(TABLE, heads=[HOSTILE], rows=[[HOSTILE]]))
    assert found.text.count(HOSTILE) == 2
    image = '{% from "parts" import image %}{{ image(png, alt) }}'
    assert safe(render_html(image, png=b"1", alt=HOSTILE)).attributes == {"alt", "src"}


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_name_is_text_in_a_cell_and_in_an_attribute(name: str) -> None:
    def squeezed(text: str) -> str:
        return " ".join(text.split())

    page = render_html(TABLE, heads=["head"], rows=[[name, "end"]])
    assert page.encode()  # no surrogate is left
    found = Markup(page)
    assert found.tags == {"table", "tr", "th", "td"}
    assert squeezed(found.text) == squeezed(f"head {visible(name, keep=chr(10))} end")
    assert all(c.isprintable() for c in found.text)
    image = '{% from "parts" import image %}{{ image(png, alt) }}'
    assert Markup(render_html(image, png=b"1", alt=name)).attributes == {"alt", "src"}


def test_markup_that_has_been_text_before_is_not_escaped_again() -> None:
    inner = render_html("<p>{{ name }}</p>", name="a & \x1b")
    assert render_html("{{ inner | safe }}", inner=inner) == "<p>a &amp; \\x1b</p>"


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
