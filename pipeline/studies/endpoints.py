"""Endpoints of trials, failures, and the best point of the axes for each arm."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.studies.design import Measure, Point, Study, Trial, task_name
from pipeline.studies.trial import Record

Key = tuple[tuple[str, Any], ...]
"""A point as pairs of key and value, the form that a trial has."""
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


def best_on_the_way(record: Record) -> float:
    """Return the lowest score during the training; infinite if the training failed."""
    scores = [point[record["measure"]] for point in record["history"]]
    return math.inf if record["failed"] else min(scores, default=math.inf)


def endpoint(record: Record, measure: Measure, threshold: float = math.inf) -> float:
    """Return a trial's endpoint, the lower the better.

    It is infinite if the training failed, or did not reach the ``threshold`` of the measure.
    """
    history, score = record["history"], record["measure"]
    if measure == "final":
        return math.inf if record["failed"] else final_score(record)
    if measure == "area":
        scores = [point[score] for point in history]
        if record["failed"] or not scores:
            return math.inf
        return float(np.exp(np.mean(np.log(np.maximum(scores, 1e-12)))))
    key = "images" if measure == "images_to" else "cpu_seconds"
    reached = (point[key] for point in history if point[score] <= threshold)
    return float(next(reached, math.inf))


def thresholds(study: Study, results: Sequence[Result]) -> dict[str, float]:
    """Return each task's threshold: the study's, or that reached by ``REACHED`` of the control."""
    limits = {}
    for task in study.tasks:
        best = [
            min((point[r.record["measure"]] for point in r.record["history"]), default=math.inf)
            for r in results_of(results, task, study.control)
        ]
        known = quantile(best, REACHED) if best else math.inf
        limits[task] = study.thresholds.get(task_name(task), known)
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
    records_of: dict[tuple[str, str], dict[Key, list[Record]]] = {}
    for trial, record, _ in results:
        if trial.tuning:
            here = records_of.setdefault((trial.task, trial.arm), {})
            here.setdefault(trial.point, []).append(record)

    def rank_key(task: str, records: Sequence[Record]) -> tuple[float, float]:
        limit = study.thresholds.get(task_name(task), -math.inf)
        best = quantile([best_on_the_way(record) for record in records], 0.5)
        if study.endpoint == "final":
            return best, best
        ends = [endpoint(record, study.endpoint, limit) for record in records]
        return quantile(ends, 0.5), best

    return {
        key: dict(min(by_point.items(), key=lambda item: rank_key(key[0], item[1]))[0])
        for key, by_point in records_of.items()
    }


def quantile(values: Sequence[float], q: float) -> float:
    """Return a quantile without interpolation, since values may be infinite."""
    return float(np.quantile(np.asarray(values), q, method="inverted_cdf"))


def control_medians(study: Study, results: Sequence[Result]) -> Mapping[str, float]:
    """Return the median final score of the control by task; infinite if there is none."""
    scores = {
        task: [final_score(r.record) for r in results_of(results, task, study.control)]
        for task in study.tasks
    }
    return {task: quantile(values, 0.5) if values else math.inf for task, values in scores.items()}
