"""Plots of a study, as PNG: scores over images, and over an axis."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from pipeline.reports.plots import GREY, figure, plain_text
from pipeline.studies.design import Study
from pipeline.studies.endpoints import Result, final_score, quartiles, results_of, scores_on_the_way

Points = tuple[Sequence[float], Sequence[Sequence[float]]]
"""Places on the horizontal axis, and the scores at each."""


def curves(study: Study, results: Sequence[Result], task: str) -> bytes:
    """Plot the score over images: median and quartiles of each arm."""
    lines: dict[str, Points] = {}
    for arm in study.arms:
        records = [r.record for r in results_of(results, task, arm) if r.record["history"]]
        if records:
            images = [point["images"] for point in max((r["history"] for r in records), key=len)]
            # A failed trial has no further scores: they count as infinite.
            scores = zip_longest(*map(scores_on_the_way, records), fillvalue=math.inf)
            lines[arm] = images, list(scores)
    return _bands("Score on the way: median and quartiles", "images seen", lines)


def swept_axis(study: Study) -> str | None:
    """Return the study's axis if it is the only one and has at least two numbers; else None."""
    if len(study.axes) != 1:
        return None
    ((key, values),) = study.axes.items()
    numbers = all(isinstance(value, int | float) for value in values)
    return key if numbers and len(values) > 1 else None


def sweep(study: Study, results: Sequence[Result], task: str, axis: str) -> bytes:
    """Plot the best generator's score over an axis: each arm's quartiles, with tuning trials."""
    lines: dict[str, Points] = {}
    for arm in study.arms:
        scores = defaultdict(list)
        for trial, record, _ in results:
            if (trial.task, trial.arm) == (task, arm) and axis in dict(trial.point):
                scores[dict(trial.point)[axis]].append(final_score(record))
        if scores:
            lines[arm] = sorted(scores), [scores[value] for value in sorted(scores)]
    positive = min((value for values, _ in lines.values() for value in values), default=0) > 0
    return _bands("Final score: median and quartiles", axis, lines, "log" if positive else "linear")


def _bands(title: str, x: str, lines: Mapping[str, Points], x_scale: str = "linear") -> bytes:
    """Plot the median and the quartiles of each arm, with a legend beside the axes."""
    axes, finish = figure(title, x, (8, max(4, 1 + len(lines) / 4)))  # room for the legend
    axes.set_yscale("log")
    for arm, (places, scores) in lines.items():
        low, middle, high = zip(*map(quartiles, scores), strict=True)
        (line,) = axes.plot(places, middle, label=plain_text(arm))
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xscale(x_scale)
    axes.legend(frameon=False, labelcolor=GREY, loc="upper left", bbox_to_anchor=(1, 1))
    return finish()
