"""The report of a scheduled evaluation."""

import pytest

from pipeline.reports.drift_report import render
from tests.unit.reports.markup import HOSTILE, safe
from tests.unit.reports.records import EXTRACTOR, drift_record, new_data


def test_a_report_without_new_images_is_about_the_model_alone() -> None:
    found = safe(render(drift_record()))
    assert "digits version 7: ok. model unchanged, FID 3,433 as registered." in found.text
    assert "Model unchanged, FID 3,433 as registered; 95 % interval 3,219 to 3,647." in found.text
    assert "Whatever is different below comes from the data." in found.text
    assert "No new images to compare with." in found.text
    assert "img" not in found.tags


def test_new_images_are_compared_in_words_a_picture_and_two_tables() -> None:
    found = safe(render(drift_record(data=new_data(skipped=2))))
    assert (
        "Data drifted, distance 686.20 (517 to 856) where chance makes 57.20, p 0.005."
        in found.text
    )
    assert "exceeds what chance makes by 191.45, 0.05 of the old features'" in found.text
    assert "New images: /camera/1, 2 unreadable ones left out." in found.text
    assert "1,350 images each Distance Old real images against new ones 686.20" in found.text
    assert "Taken for class old new 0 50.0% 100.0% 1 50.0% 0.0%" in found.text
    assert {"img", "table"} <= found.tags


def test_classes_that_images_are_taken_for_have_the_extractors_names() -> None:
    named = {**EXTRACTOR, "class_names": ["cat", HOSTILE]}
    found = safe(render(drift_record(extractor=named, data=new_data())))
    assert f"old new 0 cat 50.0% 100.0% 1 {HOSTILE[:30]}" in found.text
    wrong = {**EXTRACTOR, "class_names": ["cat"]}
    found = safe(render(drift_record(extractor=wrong, data=new_data())))
    assert "old new 0 50.0% 100.0% 1 50.0% 0.0%" in found.text


def test_of_a_thousand_classes_those_that_differ_most_are_listed() -> None:
    old, new = [0.001] * 1000, [0.001] * 1000
    old[900], new[900], new[7] = 0.0, 0.002, 0.0
    found = safe(render(drift_record(data=new_data(classes=[old, new]))))
    assert " 7 0.1% 0.0% " in found.text
    assert " 900 0.0% 0.2% " in found.text
    assert found.text.count("0.1% 0.1%") == 98
    assert "And 900 more, whose shares differ less." in found.text


@pytest.mark.parametrize("interval", [[-1.0, 1.0], [0.0, 0.0]])
def test_chance_that_is_always_the_same_can_be_drawn(interval: list[float]) -> None:
    same = new_data(distance=0.0, interval=interval, chance=[0.0] * 199, classes=[[], []])
    found = safe(render(drift_record(data=same)))
    assert "img" in found.tags
    assert "Taken for class" not in found.text


def test_names_and_messages_are_text() -> None:
    changes = {"schedule": HOSTILE, "model": HOSTILE, "reason": HOSTILE}
    found = safe(render(drift_record(**changes, data=new_data(path=HOSTILE))))
    assert found.text.count(HOSTILE) == 5  # the schedule is in the title and in the heading
