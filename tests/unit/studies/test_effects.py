"""Effects of arms, and what chance makes of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pipeline.studies.design import Study, Trial, main_trials, points
from pipeline.studies.effects import declared_effects, effects, interval, robustness, scarce
from pipeline.studies.endpoints import Result, thresholds
from pipeline.studies.report import render, sentences, table
from pipeline.studies.trial import identity, settings
from tests.unit.studies.test_design import _keys, study
from tests.unit.studies.test_trial import record


@pytest.mark.parametrize("failing", [0.0, 0.2])
def test_intervals_hold_for_any_distribution(failing: float) -> None:
    """Skewed ratios with the median 0.5, some of them infinite: covered as often as said or more."""
    random, covered, runs = np.random.default_rng(0), 0, 2_000
    for _ in range(runs):
        ratios = 0.5 * np.exp(random.exponential(size=12) - math.log(2))
        lost = random.random(12) < failing
        # What fails must not move the median: as many are moved below it.
        ratios[lost] = np.where(random.random(lost.sum()) < 0.5, math.inf, 0.01)
        _, low, high, level = interval(ratios)
        covered += low <= 0.5 <= high
    assert covered / runs >= 0.95 - 0.01
    assert level >= 0.95


def test_few_pairs_say_nothing_and_many_comparisons_want_more() -> None:
    assert interval(np.array([0.1, 0.1, 0.1]))[1:3] == (0.0, math.inf)
    assert interval(np.full(12, 0.1))[:3] == (0.1, 0.1, 0.1)
    assert interval(np.array([0.0, math.inf]))[0] == 1.0
    spread = np.array([0.9, 1.1, *np.full(10, 0.5)])
    assert interval(spread)[2] < 1
    assert interval(spread, comparisons=500)[2] > 1


def results(found: Study, scores: dict[str, Sequence[float]]) -> list[Result]:
    trials = main_trials(found, {key: [{}] for key in _keys(found)})
    return [result(t, scores[t.arm][t.seed]) for t in trials]


def result(trial: Trial, score: float) -> Result:
    return Result(trial, record([score]), identity(trial, settings(trial)))


def test_an_arm_is_told_from_its_control_seed_by_seed() -> None:
    found = study(seeds=8)
    base = [2.0**n for n in range(8)]  # seeds differ far more than arms
    measured = results(found, {"none": base, "batch": [0.8 * x for x in base]})
    (one,) = declared_effects(found, measured)
    assert (one.pairs, one.verdict) == (8, "better")
    assert one.ratio == pytest.approx(0.8)
    (text,) = sentences(measured, [one], "none")
    assert text == "ring8, batch: 1.25 × lower FID than none [1.25, 1.25], 8 pairs"
    rows = table(found, measured)
    assert [row["trials"] for row in rows] == [8, 8]
    page = render(found, measured)
    assert "The study declared its measure before: the final score; lower is better." in page
    assert "http" not in page.replace("http-equiv", "")


def test_of_random_configurations_some_work_with_one_arm_only() -> None:
    found = study(seeds=1, axes={"train.lr": [1e-4, 1e-3, 1e-2, 1e-1]})
    trials = main_trials(found, dict.fromkeys(_keys(found), points(found)))
    scores = {"none": [1.0, 9.8, 9.0, math.inf], "batch": [1.0, 2.0, 9.5, math.inf]}
    lr = [dict(t.point)["train.lr"] for t in trials[:4]]
    measured = [result(t, scores[t.arm][lr.index(dict(t.point)["train.lr"])]) for t in trials]
    low, middle, high = robustness(found, measured)
    assert (low.threshold, middle.threshold, high.threshold) == (1.0, 9.0, 9.8)
    assert (middle.both, middle.only_arm, middle.only_control, middle.neither) == (1, 1, 1, 1)
    assert "Which configurations work" in render(found, measured)


def test_what_counts_as_reached_is_what_most_of_the_controls_trainings_reach() -> None:
    found = study(seeds=4)
    measured = results(found, {"none": [4.0, 3.0, 2.0, 1.0], "batch": [1.0] * 4})
    assert thresholds(found, measured) == {"ring8": 3.0}
    named = study(seeds=4, thresholds={"ring8": 2.5})
    assert thresholds(named, measured) == {"ring8": 2.5}
    (one,) = effects(found, measured, "images_to")
    assert (one.ratio, one.threshold) == (1.0, 3.0)
    lost = results(study(seeds=12), {"none": [4.0] * 3 + [3.0] * 9, "batch": [5.0] * 12})
    (none_got_there,) = effects(study(seeds=12), lost, "images_to")
    assert (none_got_there.pairs, none_got_there.verdict) == (9, "worse")
    (text,) = sentences(measured, [one._replace(ratio=0.5, low=0.4, high=0.8)], "none")
    assert text == "ring8, batch: 2 × fewer images to a FID of 3 than none [1.25, 2.5], 4 pairs"


def test_pairs_that_cannot_show_anything_are_told_before() -> None:
    def lines(**changes: Any) -> list[str]:
        found = study(**changes)
        return scarce(found, results(found, dict.fromkeys(found.arms, [1.0] * found.seeds)))

    assert lines(seeds=6) == []
    assert lines(seeds=5) == [
        "ring8, batch: pairs with none: 5; 1 comparisons need 6 each to show anything"
    ]
    arms = {"none": ["model.generator.norm=none"], "same": ["model.generator.norm=none"]}
    assert [line.split(";")[0] for line in lines(arms=arms)] == ["ring8, same: pairs with none: 0"]
