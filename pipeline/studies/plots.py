"""Plots of a study, as PNG: scores over images, and over an axis."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.reports.plots import GREY, figure
from pipeline.studies.design import Study
from pipeline.studies.endpoints import Result, final_score, quantile, results_of

_QUARTILES = (0.25, 0.5, 0.75)


def curves(study: Study, results: Sequence[Result], task: str) -> bytes:
    """Plot the score over images: median and quartiles of each arm."""
    with _arms("Score on the way: median and quartiles", "images seen") as (axes, finish):
        for arm in study.arms:
            chosen = [r for r in results_of(results, task, arm) if r.record["history"]]
            if not chosen:
                continue
            lines = [[p[r.record["measure"]] for p in r.record["history"]] for r in chosen]
            images = [p["images"] for p in max((r.record["history"] for r in chosen), key=len)]
            # A failed trial has no further scores: they count as infinite.
            padded = np.array([line + [math.inf] * (len(images) - len(line)) for line in lines])
            _band(axes, images, list(padded.T), arm)
        content: bytes = finish()
    return content


def swept_axis(study: Study) -> str | None:
    """Return the study's axis if it is the only one and has at least two numbers; else None."""
    if len(study.axes) != 1:
        return None
    ((key, values),) = study.axes.items()
    numbers = all(isinstance(value, int | float) for value in values)
    return key if numbers and len(values) > 1 else None


def sweep(study: Study, results: Sequence[Result], task: str, axis: str) -> bytes:
    """Plot the best generator's score over an axis: each arm's quartiles, with tuning trials."""
    with _arms("Final score: median and quartiles", axis) as (axes, finish):
        for arm in study.arms:
            scores: dict[float, list[float]] = {}
            for trial, record, _ in results:
                if (trial.task, trial.arm) == (task, arm) and axis in dict(trial.point):
                    scores.setdefault(dict(trial.point)[axis], []).append(final_score(record))
            if scores:
                values = sorted(scores)
                _band(axes, values, [scores[value] for value in values], arm)
        drawn = [line.get_xdata() for line in axes.lines]
        if drawn and min(map(min, drawn)) > 0:
            axes.set_xscale("log")
        content: bytes = finish()
    return content


@contextmanager
def _arms(title: str, x: str) -> Iterator[tuple[Any, Any]]:
    """Yield axes for a line per arm, with a legend beside them, and a function for the PNG."""
    with figure(title, x, (8, 4)) as (axes, finish):
        axes.set_yscale("log")

        def named() -> bytes:
            axes.legend(frameon=False, labelcolor=GREY, loc="upper left", bbox_to_anchor=(1, 1))
            content: bytes = finish()
            return content

        yield axes, named


def _band(axes: Any, x: Sequence[float], values: Sequence[Sequence[float]], arm: str) -> None:
    low, middle, high = ([quantile(each, q) for each in values] for q in _QUARTILES)
    (line,) = axes.plot(x, middle, label=arm)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
