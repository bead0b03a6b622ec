"""A study's page."""

import warnings

from pipeline.studies.report import render
from tests.unit.reports.markup import HOSTILE, Markup, safe
from tests.unit.reports.names import NASTY
from tests.unit.studies.test_design import study
from tests.unit.studies.test_effects import results


def test_names_of_study_and_arms_are_text() -> None:
    arms = {"none": ["model.generator.norm=none"], HOSTILE: ["model.generator.norm=batch"]}
    found = study(name=HOSTILE, arms=arms, seeds=8)
    measured = results(found, {"none": [2.0] * 8, HOSTILE: [1.0] * 8})
    text = safe(render(found, measured)).text
    # Title, heading, sentence, and a row of both tables.
    assert text.count(HOSTILE) == 5
    assert f"ring8, {HOSTILE}: 2 × lower FID than none [2, 2], 8 pairs" in text


def test_arms_may_have_any_name() -> None:
    """Each has a line in the legends, and a row of both tables."""
    others = {name: ["model.generator.norm=batch"] for name in NASTY}
    found = study(arms={"none": ["model.generator.norm=none"], **others}, seeds=6)
    measured = results(found, {"none": [2.0] * 6, **{name: [1.0] * 6 for name in NASTY}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = render(found, measured)
    assert page.encode()
    text = Markup(page)
    assert not text.tags & {"script", "b"}
    assert all(c.isprintable() for c in text.text)
    for name in (name for name in NASTY if name.isprintable() and " ".join(name.split()) == name):
        assert text.text.count(name) >= 3, name
