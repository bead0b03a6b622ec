"""Studies: what is compared with what, and that the intervals hold."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.storage.workspace import SHARED
from pipeline.studies.design import (
    Study,
    Trial,
    load_study,
    main_trials,
    points,
    tuning_trials,
)
from pipeline.studies.effects import (
    declared_effects,
    effects,
    interval,
    robustness,
    scarce,
)
from pipeline.studies.endpoints import (
    Result,
    chosen_points,
    collapsed,
    endpoint,
    thresholds,
)
from pipeline.studies.report import render, sentences, table
from pipeline.studies.trial import identity, run_trial, settings

ROOT = Path(__file__).parents[3]
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))


def study(**changes: Any) -> Study:
    known: dict[str, Any] = {
        "name": "s",
        "tasks": ["ring8"],
        "arms": {"none": ["model.generator.norm=none"], "batch": ["model.generator.norm=batch"]},
        "control": "none",
    }
    return Study(**(known | changes))


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


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_that_comes_along_is_sound(path: Path) -> None:
    found = load_study(path)
    every = [*tuning_trials(found), *main_trials(found, dict.fromkeys(_keys(found), points(found)))]
    for trial in {trial.overrides: trial for trial in every}.values():
        settings(trial)
    tuned = 1 if found.tune else len(points(found))
    count = len(tuning_trials(found)) + found.seeds * len(_keys(found)) * tuned
    assert count <= 120


def _keys(found: Study) -> list[tuple[str, str]]:
    return [(task, arm) for task in found.tasks for arm in found.arms]


def test_all_arms_meet_the_same_seeds_and_points() -> None:
    found = study(axes={"train.lr": [1e-3, 1e-4], "seed": [1, 2, 3]}, seeds=2)
    assert len(points(found)) == 6
    trials = main_trials(found, dict.fromkeys(_keys(found), points(found)))
    by_arm = {arm: [(t.seed, t.point) for t in trials if t.arm == arm] for arm in ("none", "batch")}
    assert by_arm["none"] == by_arm["batch"]
    assert len(trials) == len({(t.arm, t.point, t.seed) for t in trials}) == 24
    some = study(axes=found.axes, points=4)
    assert points(some) == points(some)  # drawn once
    assert all(point in points(found) for point in points(some))
    tuning = tuning_trials(study(axes=found.axes, tune=True))
    assert not {t.seed for t in tuning} & {t.seed for t in trials}


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("control: best", "there is no arm best"),
        ("tune: true", "there are no axes"),
        (
            "axes: {data.flip: [true, false]}",
            "data.flip: data sets and how they are scored are tasks",
        ),
        ("endpoint: best", "endpoint"),
        ("thresholds: {ring9: 1}", "thresholds.ring9: there is no such task: ring8"),
        ("seeds: 0", "seeds must be at least 1"),
        ("arms: {none: [treatment=magic]}", "treatment must be one of"),
        ("endpiont: {}", "endpiont"),
        ("tasks: [ring9]", "tasks: there is no ring9: ring8, "),
    ],
)
def test_what_is_wrong_with_a_study_is_told(tmp_path: Path, text: str, message: str) -> None:
    known = {"name": "s", "tasks": "[ring8]", "arms": "{none: []}", "control": "none"}
    key, _, value = text.partition(": ")
    lines = [f"{k}: {v}" for k, v in (known | {key: value}).items()]
    (tmp_path / "study.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=message):
        load_study(tmp_path / "study.yaml")


def test_experiments_keys_on_the_command_line_are_for_all_arms(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        "name: s\ntasks: [ring8]\narms: {none: []}\ncontrol: none\ncommon: [train.lr=1]"
    )
    found = load_study(file, ["data.path=/elsewhere", "seeds=3"])
    assert (found.common, found.seeds) == (["train.lr=1", "data.path=/elsewhere"], 3)


def test_arms_and_axes_may_have_keys_by_their_earlier_names(tmp_path: Path) -> None:
    old, new = "train.checkpoint_every", "train.checkpoint_every_seconds"
    (file := tmp_path / "study.yaml").write_text(
        f"name: s\ntasks: [ring8]\narms: {{none: ['{old}=3'], other: []}}\ncontrol: none\n"
        f"common: ['{new}=2']\naxes: {{{old}: [4, 5]}}\n"
    )
    notes = list[str]()
    found = load_study(file, [], notes.append)
    assert notes == [f"{old} is now {new}"]
    trials = main_trials(found, dict.fromkeys(_keys(found), points(found)))
    seconds = {(t.arm, settings(t).train.checkpoint_every_seconds) for t in trials}
    assert seconds == {("none", 3.0), ("other", 4.0), ("other", 5.0)}


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
    assert "Declared before" in page
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


def test_points_are_chosen_on_their_own_seeds() -> None:
    found = study(axes={"train.lr": [1e-3, 1e-4]}, tune=True, tuning_seeds=2)
    scores = {("none", 1e-3): 5.0, ("none", 1e-4): 3.0, ("batch", 1e-3): 1.0, ("batch", 1e-4): 2.0}
    measured = [result(t, scores[t.arm, dict(t.point)["train.lr"]]) for t in tuning_trials(found)]
    for each in measured:  # test images have no say
        each.record["final"]["fid"] = 10 - each.record["final"]["fid"]
    chosen = chosen_points(found, measured)
    assert chosen["ring8", "none"] == {"train.lr": 1e-4}
    assert chosen["ring8", "batch"] == {"train.lr": 1e-3}


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
