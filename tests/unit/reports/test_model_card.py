"""The card of a registered version."""

import shlex

import pytest
from markdown_it import MarkdownIt

from pipeline.config.loader import load_config
from pipeline.reports.model_card import card
from tests.unit.reports.markup import HOSTILE, Markup
from tests.unit.reports.names import NASTY
from tests.unit.reports.records import run_record
from tests.unit.reports.test_run_report import DIGITS


def text(names: list[str], conditional: bool = True) -> str:
    config = load_config(DIGITS, [f"model.conditional={str(conditional).lower()}"])
    record = run_record()
    return card(config, {**record, "data": {**record["data"], "classes": names}}, "run")


def test_a_generator_by_class_names_its_classes() -> None:
    assert "\n\n**Classes.** 0 cat, 1 dog.\n\n**Use.** " in text(["cat", "dog"])
    assert "Classes." not in text(["cat", "dog"], conditional=False)
    assert "`label`, `class_name`" in text(["cat", "dog"])


def test_names_are_no_markup() -> None:
    found = text([HOSTILE[:30], "*a* | [b](c) `d` _e_ \\"])
    assert r"\<script\>alert" in found
    assert r"1 \*a\* \| \[b\](c) \`d\` \_e\_ \\." in found


def test_many_classes_leave_room_for_the_rest() -> None:
    found = text([f"{'long ' * 30}{number}" for number in range(1000)])
    assert len(found) < 5000
    assert "(1,000 in all)" in found
    assert found.rstrip().endswith("`format`.")


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_no_name_changes_what_the_card_is(name: str) -> None:
    def rendered(name: str) -> tuple[Markup, int]:
        config = load_config(DIGITS, ["model.conditional=true"])
        config.register.model = config.data.path = name
        record = run_record(adapted={"base": f"models:/{name}/1", "differs": "gamma"})
        record["data"] = {**record["data"], "classes": [name, "dog"]}
        page = MarkdownIt("gfm-like", {"linkify": False}).render(card(config, record, "run"))
        return Markup(page), page.count("<td")

    (found, cells), (plain, expected) = rendered(name), rendered("name")
    assert (found.tags, found.attributes, cells) == (plain.tags, plain.attributes, expected)
    assert all(c.isprintable() for c in found.text)
    command = found.text.partition("Use. ")[2].partition("; parameters")[0]
    if name.isprintable():
        assert shlex.split(command)[2:3] == [f"models:/{name}@champion"]
