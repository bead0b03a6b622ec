"""Endpoints of trials, failures, and the best point of the axes for each arm."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.studies.design import Measure, Point, Study, Trial, task_name
from pipeline.studies.trial import Record

COLLAPSED_MODES = 0.5
"""Share of classes or modes below which a training counts as collapsed."""
COLLAPSED_FACTOR = 10.0
"""Ratio of the score to the control's median above which a training also counts as collapsed."""
REACHED = 0.75
"""Share of the control's trainings that reach the threshold, if the study names none."""


class Result(NamedTuple):
    """A trial with its record."""

    trial: Trial
    record: Record
    training: str
    """Name of the training, which trials of several arms may share."""


def final_score(record: Record) -> float:
    """Return the best generator's score, the lower the better; infinite if there is none."""
    value = record["final"].get(record["measure"], math.inf)
    return float(value) if math.isfinite(value) else math.inf


def scores_on_the_way(record: Record) -> list[float]:
    """Return the scores during the training."""
    return [point[record["measure"]] for point in record["history"]]


def endpoint(record: Record, measure: Measure, threshold: float = math.inf) -> float:
    """Return a trial's endpoint, the lower the better.

    It is infinite if the training failed, or did not reach the ``threshold`` of the measure.
    """
    scores = scores_on_the_way(record)
    if measure in ("final", "area") and record["failed"]:
        return math.inf
    if measure == "final":
        return final_score(record)
    if measure == "area":
        return float(np.exp(np.mean(np.log(np.maximum(scores, 1e-12))))) if scores else math.inf
    key = "images" if measure == "images_to" else "cpu_seconds"
    points = zip(record["history"], scores, strict=True)
    return float(next((point[key] for point, score in points if score <= threshold), math.inf))


def thresholds(study: Study, results: Sequence[Result]) -> dict[str, float]:
    """Return each task's threshold: the study's, or that reached by ``REACHED`` of the control."""
    limits = {}
    for task in study.tasks:
        controls = results_of(results, task, study.control)
        best = [min(scores_on_the_way(r.record), default=math.inf) for r in controls]
        limits[task] = study.thresholds.get(task_name(task), quantile(best, REACHED))
    return limits


def results_of(results: Sequence[Result], task: str, arm: str) -> list[Result]:
    """Return the results of an arm on a task, without tuning trials."""
    return [r for r in results if (r.trial.task, r.trial.arm) == (task, arm) and not r.trial.tuning]


def collapsed(record: Record, control: float) -> bool:
    """Return whether a trial failed, lost half of the classes or modes, or scores far worse.

    ``control``: median final score of the task's control.
    """
    final = record["final"]
    share = final.get("modes_share", final.get("classes_share", 1.0))
    bad = final_score(record) > COLLAPSED_FACTOR * control
    return bool(record["failed"] or not final or share < COLLAPSED_MODES or bad)


def chosen_points(study: Study, results: Sequence[Result]) -> dict[tuple[str, str], Point]:
    """Return for each task and arm the point whose tuning trials have the lowest median endpoint.

    The best score during training replaces the final score, since effects use the final score's
    images. It also decides if no trial reached the threshold, or the threshold is not yet known.
    """
    records_of: dict[tuple[str, str], dict[tuple[tuple[str, Any], ...], list[Record]]]
    records_of = defaultdict(lambda: defaultdict(list))
    for trial, record, _ in results:
        if trial.tuning:
            records_of[trial.task, trial.arm][trial.point].append(record)

    def rank_key(task: str, records: Sequence[Record]) -> tuple[float, float]:
        limit = study.thresholds.get(task_name(task), -math.inf)
        scores = [[math.inf] if r["failed"] else scores_on_the_way(r) for r in records]
        best = quantile([min(each, default=math.inf) for each in scores], 0.5)
        if study.endpoint == "final":
            return best, best
        ends = [endpoint(record, study.endpoint, limit) for record in records]
        return quantile(ends, 0.5), best

    return {
        key: dict(min(by_point.items(), key=lambda item: rank_key(key[0], item[1]))[0])
        for key, by_point in records_of.items()
    }


def quantile(values: Sequence[float], q: float) -> float:
    """Return a quantile without interpolation, since values may be infinite; so is that of none."""
    return float(np.quantile(values, q, method="inverted_cdf")) if values else math.inf


def quartiles(values: Sequence[float]) -> list[float]:
    """Return the first quartile, the median and the third quartile, without interpolation."""
    return [quantile(values, q) for q in (0.25, 0.5, 0.75)]
