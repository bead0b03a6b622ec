"""The page about a registration: the decision, and what it comes from."""

from typing import Any

from pipeline.reports.gate_report import render
from tests.unit.reports.markup import safe

FIRST: dict[str, Any] = {
    "name": "<b>gan",
    "version": "3",
    "alias": "champion",
    "reason": "first version",
    "gate": {},
}
SPACE = {"candidate": 11.5, "champion": 9.25, "difference": 2.25, "upper_bound": 3.75}
VETO = {"candidate": 1.5, "against": 1.25, "loss": 0.25, "margin": 0.125, "p_value": 0.0125}
JUDGED: dict[str, Any] = {
    **FIRST,
    "alias": "challenger",
    "reason": "not better",
    "gate": {
        **SPACE,
        **{"metric": "fid", "level": 0.999, "draws": 4, "images": 1440, "champion_version": "2"},
        **{"real_images": 321, "left_out": {"the candidate": 0, "the champion": 39}},
        "second": {"label": "pyramid's sliced distance", "margin": 0.5, **SPACE, "champion": 5.0},
        "vetoes": {"kid": {**VETO, "worse": False}, "coverage": {**VETO, "worse": True}},
    },
}


def test_a_first_version_has_no_numbers() -> None:
    page = safe(render(FIRST))
    assert "Version 3 of <b>gan is champion: first version." in page.text
    assert "h2" not in page.tags


def test_a_decision_has_its_numbers() -> None:
    page = safe(render(JUDGED)).text
    for expected in (
        "Version 3 of <b>gan is challenger: not better.",
        "This version Champion version 2 Difference Upper bound of the difference, 99.9%",
        *("FID 11.50 9.25 2.25 3.75 0", "pyramid's sliced distance 11.50 5 2.25 3.75 0.5"),
        "1,440 generated images in 4 draws, against 321 real images.",
        *("321 images are left.", "the candidate 0", "the champion 39"),
        "KID beside the champion's 1.50 1.25 0.25 0.125 0.0125 no",
        "Coverage beside the champion's 1.50 1.25 0.25 0.125 0.0125 yes",
    ):
        assert expected in page


def test_a_refusal_says_what_is_not_known() -> None:
    gate = {"real_images": 40, "left_out": {"the candidate": 0, "the champion": None}}
    page = safe(render({**FIRST, "alias": "challenger", "gate": gate})).text
    assert "the champion not known" in page
    assert "Distances of both generators" not in page


def test_a_space_that_does_not_judge_is_not_shown() -> None:
    page = safe(render({**JUDGED, "gate": {**JUDGED["gate"], "metric": "second"}})).text
    assert "FID" not in page
    assert "pyramid's sliced distance 11.50 5 2.25 3.75 0 " in page
