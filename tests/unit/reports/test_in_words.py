"""Scores in words."""

import pytest

from pipeline.reports.in_words import in_words


@pytest.mark.parametrize(
    ("recall", "real", "words"),
    [
        (0.23, 0.73, "a third of real"),
        (0.73, 0.73, "that of real images"),
        (0.9, 0.73, "that of real images"),
        (0.63, 0.73, "nearly that of real images"),
        (0.36, 0.72, "half of real"),
        (0.0, 0.72, "hardly any"),
        (0.0, 0.0, "that of real images"),
    ],
)
def test_a_share_is_said_in_words_and_numbers(recall: float, real: float, words: str) -> None:
    record = {"scores": {"recall": recall, "fid": 3.0}, "floor": {"recall": real}}
    (line,) = in_words(record)
    assert line.startswith(f"Variety: {words} (recall {recall:.3g} of {real:.3g}")


def test_both_measures_come_in_order() -> None:
    scores = {"recall": 0.3, "precision": 0.8}
    lines = in_words({"scores": scores, "floor": {"recall": 0.6, "precision": 0.8}})
    assert [line.partition(":")[0] for line in lines] == ["Sharpness", "Variety"]
