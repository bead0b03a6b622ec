"""Names in Markdown, read as a reader of Markdown reads them."""

import pytest
from markdown_it import MarkdownIt

from pipeline.reports.markdown import code, plain
from tests.unit.reports.markup import Markup
from tests.unit.reports.names import NASTY


def read(text: str) -> Markup:
    return Markup(MarkdownIt("gfm-like", {"linkify": False}).render(text))


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_name_is_text_in_a_paragraph_and_in_a_cell(name: str) -> None:
    found = read(f"Before {plain(name)} after.")
    assert found.tags == {"p"}
    assert found.text.startswith("Before ")
    assert found.text.endswith("after. ")
    if name.isprintable():
        assert squeezed(found.text) == squeezed(f"Before {name} after.")
    rows = f"| a | b |\n| --- | --- |\n| {plain(name)} | x |\n| {plain(name)} | y |"
    tags = MarkdownIt("gfm-like", {"linkify": False}).render(rows).count("<td")
    assert tags == 4


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_a_name_is_text_in_code(name: str) -> None:
    found = read(f"Before {code(name)} after.")
    assert found.tags == {"p", "code"}
    if name.isprintable():
        assert squeezed(found.text) == squeezed(f"Before {name} after.")
