"""Say in words how sharp and how varied generated images are, beside real ones."""

from collections.abc import Mapping
from typing import Any

from pipeline.reports.page import readable

_MEASURES = {"Sharpness": "precision", "Variety": "recall"}
"""Scores that stand for what eyes see: the share of generated images that could be real ones, and the
share of real images that could be generated ones."""
_SHARES = (
    (0.95, "that of real images"),
    (0.85, "nearly that of real images"),
    (0.7, "three quarters of real"),
    (0.58, "two thirds of real"),
    (0.42, "half of real"),
    (0.29, "a third of real"),
    (0.225, "a quarter of real"),
    (0.15, "a fifth of real"),
    (0.075, "a tenth of real"),
)
"""Least share of what real images score, and its words."""


def in_words(record: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each measure that a record of scores and its floor have."""
    scores, floor = record["scores"], record["floor"]
    return [
        f"{name}: {_share(scores[score], floor[score])} ({score} {readable(scores[score])} of "
        f"{readable(floor[score])})."
        for name, score in _MEASURES.items()
        if score in scores and score in floor
    ]


def _share(value: float, real: float) -> str:
    share = value / real if real > 0 else 1.0
    return next((words for least, words in _SHARES if share >= least), "hardly any")
