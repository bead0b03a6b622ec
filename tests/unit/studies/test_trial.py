"""One trial of a study."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.core.errors import UserError
from pipeline.storage.workspace import SHARED
from pipeline.studies.design import main_trials, points
from pipeline.studies.effects import effects
from pipeline.studies.endpoints import Result, endpoint
from pipeline.studies.trial import identity, run_trial, settings
from tests.unit.studies.test_design import _keys, study


def record(scores: Sequence[float], failed: str | None = None, **final: float) -> dict[str, Any]:
    history = [
        {"images": 10.0 * (i + 1), "cpu_seconds": 1.0 * (i + 1), "fid": score}
        for i, score in enumerate(scores)
    ]
    found = {"fid": min(scores), **final} if scores else {}
    return {
        "measure": "fid",
        "failed": failed,
        "history": history,
        "final": found,
        "cpu_seconds": 1.0,
        "best_images": 10.0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.lrr=1", "unknown key train.lrr: did you mean train.lr?"),
        ("train.lr=fast", "train.lr: "),
        ("train.batch_size=1", "train.batch_size must be at least 2"),
    ],
)
def test_what_is_wrong_with_a_trial_is_one_clear_line(text: str, message: str) -> None:
    found = study(arms={"none": [text]})
    (trial, *_) = main_trials(found, {("ring8", "none"): [{}]})
    with pytest.raises(UserError) as caught:
        settings(trial)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_same_training_is_known_however_it_is_put() -> None:
    arms = {
        "none": ["model.generator.norm=none"],
        "same": ["model.generator.norm=none", "train.lr=2e-4"],
        "drawn": [],
    }
    found = study(arms=arms, axes={"model.generator.norm": ["none", "batch"]}, seeds=1)
    trials = main_trials(found, dict.fromkeys(_keys(found), points(found)))
    known = [identity(trial, settings(trial)) for trial in trials]
    assert len(set(known)) == 2  # 2e-4 is the default, and an arm's setting beats what is drawn
    assert known.count(known[0]) == 5
    # Pairs that are the same training say nothing, and are left out.
    scores = {trial: record([1.0]) for trial in trials}
    known_results = [
        Result(t, scores[t], name) for t, name in zip(trials, known, strict=True) if t.arm != "same"
    ]
    (told,) = effects(found, known_results, "final")
    assert (told.arm, told.pairs) == ("drawn", 1)
    other = [t for t in trials if t.arm == "drawn"][1]
    assert identity(other, settings(other)) not in known[:4]


def test_a_trial_is_a_function_of_its_seed_and_failures_are_results() -> None:
    found = study(
        common=["train.images=2560", "train.batch_size=64", "train.lr=1e-3"], score_every=1280
    )
    (one, *_) = main_trials(found, {key: [{}] for key in _keys(found)})
    first, again = (run_trial(one, settings(one), SHARED, {}) for _ in range(2))
    assert first["final"] == again["final"]
    assert [point["images"] for point in first["history"]] == [1280, 2560]
    wild = study(common=["train.images=2560", "train.batch_size=64", "train.lr=1e30"])
    (one, *_) = main_trials(wild, {key: [{}] for key in _keys(wild)})
    failed = run_trial(one, settings(one), SHARED, {})
    assert failed["failed"]
    assert endpoint(failed, "final") == math.inf
