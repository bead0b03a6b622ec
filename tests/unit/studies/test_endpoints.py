"""Endpoints of trials, and the points chosen by them."""

import math

import pytest

from pipeline.studies.design import tuning_trials
from pipeline.studies.endpoints import chosen_points, collapsed, endpoint
from tests.unit.studies.test_design import study
from tests.unit.studies.test_effects import result
from tests.unit.studies.test_trial import record


def test_endpoints_are_infinite_where_nothing_came_of_it() -> None:
    good, bad = record([8.0, 4.0, 5.0]), record([9.0], failed="weight is not finite")
    assert endpoint(good, "final") == 4.0
    assert endpoint(bad, "final") == math.inf
    assert endpoint(good, "images_to", 5.0) == 20.0
    assert endpoint(good, "seconds_to", 5.0) == 2.0
    assert endpoint(good, "images_to", 1.0) == math.inf
    assert endpoint(good, "area") == pytest.approx(160 ** (1 / 3))
    assert collapsed(bad, 5.0)
    assert not collapsed(good, 5.0)
    assert collapsed(good, 0.1)
    assert collapsed(record([4.0], modes_share=0.4), 5.0)


def test_points_are_chosen_on_their_own_seeds() -> None:
    found = study(axes={"train.lr": [1e-3, 1e-4]}, tune=True, tuning_seeds=2)
    scores = {("none", 1e-3): 5.0, ("none", 1e-4): 3.0, ("batch", 1e-3): 1.0, ("batch", 1e-4): 2.0}
    measured = [result(t, scores[t.arm, dict(t.point)["train.lr"]]) for t in tuning_trials(found)]
    for each in measured:  # test images have no say
        each.record["final"]["fid"] = 10 - each.record["final"]["fid"]
    chosen = chosen_points(found, measured)
    assert chosen["ring8", "none"] == {"train.lr": 1e-4}
    assert chosen["ring8", "batch"] == {"train.lr": 1e-3}
