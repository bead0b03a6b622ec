"""Differences between arms, with distribution-free intervals, and the robustness of arms."""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.stats import binom

from pipeline.studies.design import Measure, Study, task_name
from pipeline.studies.endpoints import (
    Result,
    endpoint,
    final_score,
    quartiles,
    results_of,
    thresholds,
)

LEVEL = 0.95


class Effect(NamedTuple):
    """Median ratio of an arm's endpoints to the control's on one task, pair by pair of trials."""

    task: str
    arm: str
    measure: Measure
    threshold: float
    """The score to reach, if the measure is ``images_to`` or ``seconds_to``."""
    pairs: int
    ratio: float
    low: float
    high: float
    level: float
    """Confidence in this interval; all intervals of the endpoint hold together at 95 % or more."""

    @property
    def verdict(self) -> str:
        """The words better, worse or no difference shown."""
        if self.high < 1:
            return "better"
        return "worse" if self.low > 1 else "no difference shown"


def declared_effects(study: Study, results: Sequence[Result]) -> list[Effect]:
    """Return effects on the study's endpoint; all comparisons share 5 % of error (Bonferroni)."""
    return effects(study, results, study.endpoint, max(len(_comparisons(study)), 1))


def _comparisons(study: Study) -> list[tuple[str, str]]:
    """Return every task with every arm but the control."""
    return [(task, arm) for task, arm in product(study.tasks, study.arms) if arm != study.control]


def effects(
    study: Study, results: Sequence[Result], measure: Measure, comparisons: int = 1
) -> list[Effect]:
    """Return the effects of every arm but the control on every task.

    Trials of one seed and point are a pair. The ends of an interval are order statistics of the
    pairs' ratios (sign test): exact for any distribution, with failures and infinite endpoints.
    """
    limits, shown = thresholds(study, results), []
    for task, arm in _comparisons(study):
        limit = limits[task]
        pairs = _pairs(study, results, task, arm)
        ends = [[endpoint(r.record, measure, limit) for r in pair] for pair in pairs]
        # Pairs that both failed say nothing.
        if ratios := [_ratio(*pair) for pair in ends if min(pair) < math.inf]:
            estimate = interval(np.array(ratios), comparisons)
            shown.append(Effect(task, arm, measure, limit, len(ratios), *estimate))
    return shown


def interval(ratios: np.ndarray, comparisons: int = 1) -> tuple[float, float, float, float]:
    """Return the median of paired ratios, the two ends of its interval, and its confidence.

    The confidence is at least 1 - 5 % / comparisons. If pairs are too few for it, the interval is
    0 to infinity.
    """
    ordered, n, wanted = np.sort(ratios), len(ratios), 1 - (1 - LEVEL) / comparisons
    middle = _median(ordered)
    # P(the median lies outside the k-th smallest and k-th largest) = 2 P(fewer than k are below it).
    k = int(binom.ppf((1 - wanted) / 2, n, 0.5))
    if k == 0:
        return middle, 0.0, math.inf, wanted
    level = float(1 - 2 * binom.cdf(k - 1, n, 0.5))
    return middle, float(ordered[k - 1]), float(ordered[n - k]), level


def scarce(study: Study, results: Sequence[Result]) -> list[str]:
    """Return a line for each comparison that has too few pairs of different trainings.

    Its interval cannot exclude 1. ``results``: those of all trials that count, or of one point if
    the study tunes.
    """
    if not (comparisons := len(_comparisons(study))):
        return []
    needed = next(n for n in range(1, 99) if math.isfinite(interval(np.ones(n), comparisons)[2]))
    lacking: dict[tuple[str, int], list[str]] = {}
    for task, arm in _comparisons(study):
        if (count := len(_pairs(study, results, task, arm))) < needed:
            lacking.setdefault((task_name(task), count), []).append(arm)
    return [
        f"{task}, {', '.join(arms)}: pairs with {study.control}: {count}; {comparisons} comparisons "
        f"need {needed} each to show anything"
        for (task, count), arms in lacking.items()
    ]


def _median(ordered: np.ndarray) -> float:
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if low == high or (low == 0 and high == math.inf):
        return float(low) if low == high else 1.0
    return math.sqrt(low * high)


def _pairs(
    study: Study, results: Sequence[Result], task: str, arm: str
) -> list[tuple[Result, Result]]:
    """Return pairs of different trainings of an arm and the control, from one seed and point."""

    def key(result: Result) -> tuple[object, ...]:
        return result.trial.seed, result.trial.point if not study.tune else ()

    controls = {key(result): result for result in results_of(results, task, study.control)}
    return [
        (ours, theirs)
        for ours in results_of(results, task, arm)
        if (theirs := controls.get(key(ours))) and ours.training != theirs.training
    ]


def _ratio(ours: float, theirs: float) -> float:
    return 1.0 if ours == theirs else math.inf if theirs == 0 else ours / theirs


class Robustness(NamedTuple):
    """Numbers of configurations that work with both of two arms, with one, or with none.

    The table follows Gulrajani et al. 2017, section 5.1.
    """

    task: str
    arm: str
    threshold: float
    both: int
    only_arm: int
    only_control: int
    neither: int


def robustness(study: Study, results: Sequence[Result]) -> list[Robustness]:
    """Return counts at three thresholds of the final score: the quartiles of all arms' trials."""
    rows = []
    for task, arm in _comparisons(study):
        everything = [r for each in study.arms for r in results_of(results, task, each)]
        pairs = _pairs(study, results, task, arm)
        ends = [[endpoint(r.record, "final") for r in pair] for pair in pairs]
        for limit in quartiles([final_score(r.record) for r in everything]) if pairs else ():
            works = [tuple(score <= limit < math.inf for score in pair) for pair in ends]
            counts = [works.count(kind) for kind in product((True, False), repeat=2)]
            rows.append(Robustness(task, arm, limit, *counts))
    return rows
