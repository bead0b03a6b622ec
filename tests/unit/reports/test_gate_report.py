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
LOSS = {"loss": 0.25, "margin": 0.125, "worse": True}
JUDGED = {
    **FIRST,
    "alias": "challenger",
    "reason": "not better beyond chance",
    "gate": {
        **{"candidate": 11.5, "champion": 9.25, "difference": 2.25, "upper_bound": 3.75},
        **{"level": 0.999, "draws": 4, "images": 1440, "champion_version": "2"},
        **{"real_images": 321, "left_out": {"the candidate": 0, "the champion": 39}},
        "second_opinions": {"kid": {**LOSS, "worse": False}, "coverage": LOSS},
    },
}


def test_a_first_version_has_no_numbers() -> None:
    page = safe(render(FIRST))
    assert "Version 3 of <b>gan is champion: first version." in page.text
    assert "h2" not in page.tags


def test_a_decision_has_its_numbers() -> None:
    page = safe(render(JUDGED)).text
    for expected in (
        "Version 3 of <b>gan is challenger: not better beyond chance.",
        *("This version 11.50", "Champion version 2 9.25", "Difference 2.25"),
        "Upper bound of the difference, 99.9% 3.75",
        "1,440 generated images in 4 draws, against 321 real images.",
        *("321 images are left.", "the candidate 0", "the champion 39"),
        *("KID 0.25 0.125 no", "Coverage 0.25 0.125 yes"),
    ):
        assert expected in page


def test_a_refusal_says_what_is_not_known() -> None:
    gate = {"real_images": 40, "left_out": {"the candidate": 0, "the champion": None}}
    page = safe(render({**FIRST, "alias": "challenger", "gate": gate})).text
    assert "the champion not known" in page
    assert "FID of both generators" not in page
