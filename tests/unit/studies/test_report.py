"""A study's page."""

from pipeline.studies.report import render
from tests.unit.reports.markup import HOSTILE, safe
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
