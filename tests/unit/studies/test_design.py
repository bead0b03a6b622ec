"""Studies: what is compared with what, and that the intervals hold."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import UserError
from pipeline.studies.design import Study, load_study, main_trials, points, tuning_trials
from pipeline.studies.trial import Trial, settings

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


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_arm_of_a_study_that_comes_along_is_sound(path: Path) -> None:
    found = load_study(path)
    for trial in {(trial.task, trial.arm): trial for trial in _trials(found)}.values():
        settings(trial)
    tuned = 1 if found.tune else len(points(found))
    count = len(tuning_trials(found)) + found.seeds * len(_keys(found)) * tuned
    assert count <= 120


@pytest.mark.full
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_trial_of_a_study_that_comes_along_is_sound(path: Path) -> None:
    for trial in {trial.overrides: trial for trial in _trials(load_study(path))}.values():
        settings(trial)


def _trials(found: Study) -> list[Trial]:
    return [
        *tuning_trials(found),
        *main_trials(found, dict.fromkeys(_keys(found), points(found))),
    ]


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


def test_words_of_arms_and_axes_have_the_types_of_the_keys(tmp_path: Path) -> None:
    (file := tmp_path / "study.yaml").write_text(
        "name: 2024_11\ntasks: [ring8]\narms: {no: [register.model=1.10, 'workspace=a #b'], 010: []}\n"
        "control: no\nthresholds: {ring8: 1e3}\ncommon: ['train.augment=[cutout]']\n"
        "axes: {name: [no, 1e3, 'null'], train.lr: [2.0e-4], train.compile: [off], seed: [1_0]}\n"
    )
    found = load_study(file)
    assert (found.name, found.control, list(found.arms)) == ("2024_11", "no", ["no", "010"])
    assert found.axes == {
        "name": ["no", "1e3", "null"],
        "train.lr": [0.0002],
        "train.compile": ["off"],
        "seed": [10],
    }
    trials = main_trials(found, dict.fromkeys(_keys(found), points(found)))
    configs = [settings(trial) for trial in trials if trial.arm == "no" and trial.seed == 0]
    assert [config.name for config in configs] == ["no", "1e3", "null"]
    assert {(c.register.model, c.workspace, c.train.lr, c.train.compile) for c in configs} == {
        ("1.10", "a #b", 0.0002, "off")
    }
    assert configs[0].train.augment == ["cutout"]


def test_a_number_of_an_axis_is_not_guessed(tmp_path: Path) -> None:
    (file := tmp_path / "study.yaml").write_text(
        "name: s\ntasks: [ring8]\narms: {a: []}\ncontrol: a\naxes:\n  train.batch_size: [64, 0100]\n"
    )
    with pytest.raises(
        UserError, match=r"axes\.train\.batch_size: Value '0100' of type 'str' could"
    ):
        load_study(file)
