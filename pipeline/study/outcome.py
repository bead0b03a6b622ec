"""What trials come to: endpoints, failures, and effects with intervals that assume nothing."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binom

from pipeline.study.design import Endpoint, Point, Study, Trial
from pipeline.study.trial import Record

Key = tuple[tuple[str, Any], ...]
"""A point as a trial carries it."""
COLLAPSED_MODES = 0.5
"""Share of classes or modes below which a training counts as collapsed."""
COLLAPSED_FACTOR = 10.0
"""So many times the median score of its task's control: collapsed as well."""
LEVEL = 0.95


class Result(NamedTuple):
    """A trial and what came of it."""

    trial: Trial
    record: Record


def final_score(record: Record) -> float:
    """The best generator's, the lower the better; infinite where there is none."""
    value = record["final"].get(record["measure"], math.inf)
    return float(value) if math.isfinite(value) else math.inf


def endpoint(record: Record, asked: Endpoint) -> float:
    """Of a trial, the lower the better. Infinite where the training failed, or did not get there."""
    history, measure = record["history"], record["measure"]
    if asked.measure == "final":
        return math.inf if record["failed"] else final_score(record)
    if asked.measure == "area":
        scores = [point[measure] for point in history]
        if record["failed"] or not scores:
            return math.inf
        return float(np.exp(np.mean(np.log(np.maximum(scores, 1e-12)))))
    key = "images" if asked.measure == "images_to" else "cpu_seconds"
    assert asked.threshold is not None
    reached = (point[key] for point in history if point[measure] <= asked.threshold)
    return float(next(reached, math.inf))


def collapsed(record: Record, control: float) -> bool:
    """Whether it failed, lost half of the classes or modes, or is far worse than the control."""
    final = record["final"]
    share = final.get("modes_share", final.get("classes_share", 1.0))
    bad = final_score(record) > COLLAPSED_FACTOR * control
    return bool(record["failed"] or not final or share < COLLAPSED_MODES or bad)


class Effect(NamedTuple):
    """An arm against the control on one task: the median ratio of their endpoints, seed by seed."""

    task: str
    arm: str
    pairs: int
    ratio: float
    low: float
    high: float
    level: float
    """Confidence in this interval; all of a study's hold together at 95 % or more."""

    @property
    def verdict(self) -> str:
        """better, worse or no difference shown."""
        if self.high < 1:
            return "better"
        return "worse" if self.low > 1 else "no difference shown"


def effects(study: Study, results: Sequence[Result]) -> list[Effect]:
    """Of every arm but the control on every task.

    Seeds are pairs. The interval is of order statistics of the pairs' ratios (the sign test's): exact
    for any distribution, failures and what did not get there included. As many comparisons as there are
    share the 5 % (Bonferroni).
    """
    arms = [arm for arm in study.arms if arm != study.control]
    comparisons = max(len(arms) * len(study.tasks), 1)
    return [
        effect(task, arm, ratios, 1 - (1 - LEVEL) / comparisons)
        for task in study.tasks
        for arm in arms
        if len(ratios := _ratios(study, results, task, arm))
    ]


def effect(task: str, arm: str, ratios: np.ndarray, wanted: float) -> Effect:
    """Median and interval of paired ratios, at the level ``wanted`` or the widest there is."""
    ordered, n = np.sort(ratios), len(ratios)
    # P(the median lies outside the k-th smallest and k-th largest) = 2 P(fewer than k are below it).
    ks = [k for k in range(1, n // 2 + 1) if 1 - 2 * binom.cdf(k - 1, n, 0.5) >= wanted]
    k = max(ks, default=0)
    if k == 0:  # too few pairs to say anything at that level
        return Effect(task, arm, n, float(np.median(ordered)), 0.0, math.inf, wanted)
    level = float(1 - 2 * binom.cdf(k - 1, n, 0.5))
    return Effect(
        task, arm, n, _median(ordered), float(ordered[k - 1]), float(ordered[n - k]), level
    )


def _median(ordered: np.ndarray) -> float:
    middle = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(middle[0] if middle[0] == middle[1] else math.sqrt(middle[0] * middle[1]))


def _ratios(study: Study, results: Sequence[Result], task: str, arm: str) -> np.ndarray:
    """Endpoints of an arm by those of the control; pairs that both failed tell nothing and are 1."""
    found = {
        (r.trial.arm, r.trial.seed, r.trial.point if not study.tune else ()): endpoint(
            r.record, study.endpoint
        )
        for r in results
        if r.trial.task == task and not r.trial.tuning
    }
    ratios = []
    for (name, seed, point), ours in found.items():
        theirs = found.get((study.control, seed, point))
        if name != arm or theirs is None:
            continue
        equal = ours == theirs
        ratios.append(1.0 if equal else math.inf if theirs == 0 else ours / theirs)
    return np.array(ratios)


class Robustness(NamedTuple):
    """Of random configurations, how many work with both of two arms, one, or none (Gulrajani et al.
    2017, section 5.1)."""

    task: str
    arm: str
    threshold: float
    both: int
    only_arm: int
    only_control: int
    neither: int


def robustness(
    study: Study, results: Sequence[Result], thresholds: Sequence[float]
) -> list[Robustness]:
    """At several thresholds of the final score."""
    found = {
        (r.trial.task, r.trial.arm, r.trial.seed, r.trial.point): final_score(r.record)
        for r in results
        if not r.trial.tuning
    }
    rows = []
    for task in study.tasks:
        for arm in study.arms:
            pairs = [
                (score, found[task, study.control, seed, point])
                for (t, a, seed, point), score in found.items()
                if (t, a) == (task, arm) and (task, study.control, seed, point) in found
            ]
            if arm == study.control or not pairs:
                continue
            for limit in thresholds:
                ok = [(ours <= limit, theirs <= limit) for ours, theirs in pairs]
                kinds = ((True, True), (True, False), (False, True), (False, False))
                counts = [ok.count(kind) for kind in kinds]
                rows.append(Robustness(task, arm, limit, *counts))
    return rows


def chosen_points(study: Study, results: Sequence[Result]) -> dict[tuple[str, str], Point]:
    """For each task and arm the point whose tuning trials have the lowest median endpoint.

    Where none got there, the median of their final scores decides.
    """
    found: dict[tuple[str, str], dict[Key, list[Record]]] = {}
    for trial, record in results:
        if trial.tuning:
            here = found.setdefault((trial.task, trial.arm), {})
            here.setdefault(trial.point, []).append(record)

    def standing(records: Sequence[Record]) -> tuple[float, float]:
        ends = [endpoint(record, study.endpoint) for record in records]
        return _middle(ends), _middle([final_score(record) for record in records])

    return {
        key: dict(min(by_point.items(), key=lambda item: standing(item[1]))[0])
        for key, by_point in found.items()
    }


def _middle(values: Sequence[float]) -> float:
    """A median that is one of the values: they may be infinite."""
    return sorted(values)[(len(values) - 1) // 2]
