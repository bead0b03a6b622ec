"""The card of a registered version."""

from pipeline.config.loader import load_config
from pipeline.reports.model_card import card
from tests.unit.reports.markup import HOSTILE
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
