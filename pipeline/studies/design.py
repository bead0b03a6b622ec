"""The schema of a study, and its trials."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from bngan.serialization.bounds import bounded, out_of_bounds
from bngan.serialization.problem import Problem, first_line
from pipeline.config.keys import name_conflicts, other_names, renaming_notes, with_present_key
from pipeline.config.loader import located_workspace, silent
from pipeline.config.parser import flatten, override_tree, read
from pipeline.config.scalars import written
from pipeline.config.schema import KEYS_OF, Config
from pipeline.core.names import name_errors

Point = dict[str, Any]
"""Values of a study's axes, by configuration key."""
_SECTIONS = {field.name for field in fields(Config) if is_dataclass(field.default_factory)}
_DATA = ("data", "extractor", "evaluate")
"""Configuration sections that define data and scores, and thus the task."""
BUILT_IN = ("ring8", "grid25", "stacked_digits")
_STRUCTURE = {"tasks", "arms", "control", "common", "axes", "thresholds"}
"""Keys of a study that refer to each other."""
TREATMENTS = ("none", "data_dependent", "frozen_statistics")
Measure = Literal["final", "area", "images_to", "seconds_to"]
"""The best generator's score on the test images; the geometric mean of the score over the training;
or images or CPU-seconds until the score reaches the task's threshold. Lower is always better."""


@dataclass
class Study:
    """A comparison of arms (configurations) on the same tasks, from the same seeds."""

    name: str = MISSING
    """Name of the experiment in MLflow."""
    tasks: list[str] = MISSING
    """ring8, grid25, stacked_digits, or configuration files of experiments, relative to the study's."""
    arms: dict[str, list[str]] = MISSING
    """The compared configurations by name, as key=value like on the command line. ``treatment=`` is
    a key as well: data_dependent or frozen_statistics, a change of the initial generator."""
    control: str = MISSING
    """Name of the arm with which the others are compared."""
    common: list[str] = field(default_factory=list)
    """Settings (key=value) of all arms, and of the data."""
    axes: dict[str, list[Any]] = field(default_factory=dict, metadata={KEYS_OF: Config})
    """Values of other keys; every arm is trained with each of them, unless the arm sets the key
    itself. Such an arm differs from the control in that key too, unless their values are equal."""
    points: int | None = bounded(None, ge=1)
    """Number of random points of the axes; null: all points."""
    tune: bool = False
    """Choose each arm's best point on separate seeds, and drop its other points; false: use all."""
    tuning_seeds: int = bounded(2, ge=1)
    """Number of seeds to choose the best point with."""
    seeds: int = bounded(12, ge=1)
    """Number of seeds, which all arms share. Fewer than 6 pairs show nothing; many comparisons
    need 12."""
    score_every: int = bounded(6_400, ge=1)
    """Images between two scores."""
    at_once: int = bounded(2, ge=1)
    """Trials that run together, one CPU each."""
    endpoint: Measure = "final"
    """The measure that the study declares before it runs. Its intervals share the 5 % of error. The
    report has the other measures as well, each with its own 5 %."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Scores that count as reached, by task. The default is the score that three quarters of the
    control's trainings reach."""
    workspace: str = "runs"
    """Folder or URI, like the workspace of an experiment."""


@dataclass(frozen=True)
class Trial:
    """One training of a study.

    Attributes:
        overrides: all settings beyond the task's own, as key=value.
        treatment: a change of the initial generator beyond the configuration, or none.
        tuning: whether the trial only serves to choose the arm's point.
    """

    task: str
    arm: str
    point: tuple[tuple[str, Any], ...]
    seed: int
    overrides: tuple[str, ...]
    treatment: str
    score_every: int
    tuning: bool


def load_study(
    path: Path, overrides: Sequence[str] = (), tell: Callable[[str], None] = silent
) -> Study:
    """Read a study's YAML file, with every path made absolute.

    Overrides of experiments' keys, such as data.path=FOLDER, are for all arms. ``tell`` is called
    with notes for the user.

    Raises:
        UserError: with a problem for each mistake in the study.
    """
    of_trials = [text for text in overrides if text.partition(".")[0] in _SECTIONS]
    given = read(Study, path, [text for text in overrides if text not in of_trials])
    study = given.values
    study.common += of_trials
    place = path.parent.absolute()
    study.tasks = [str(place / task) if is_file(task) else task for task in study.tasks]
    wrong = [*_under_present_names(study, tell), *located_workspace(study)]
    wrong += [*name_errors(study.name), *out_of_bounds(study)]
    if not {problem.key.partition(".")[0] for problem in given.wrong.values()} & _STRUCTURE:
        wrong += _structure(study)
    given.raise_if_invalid(wrong)
    return study


def _under_present_names(study: Study, tell: Callable[[str], None]) -> list[Problem]:
    """Rename experiments' keys to present names; return settings with two names at one place."""
    names, wrong, seen = other_names(Config), list[Problem](), set[str]()
    places = {"common": study.common} | {f"arms.{arm}": texts for arm, texts in study.arms.items()}
    for place, texts in [*places.items(), ("axes", list(study.axes))]:
        keys = {text.partition("=")[0] for text in texts}
        conflicts = name_conflicts(keys, names)
        wrong += [Problem(place, f"{place}: {conflict.message}") for conflict in conflicts]
        seen |= keys
    study.common = [with_present_key(text, names) for text in study.common]
    for texts in study.arms.values():
        texts[:] = [with_present_key(text, names) for text in texts]
    study.axes = {names.get(key, key): values for key, values in study.axes.items()}
    for note in renaming_notes(seen):
        tell(note)
    return wrong


def is_file(task: str) -> bool:
    """Return whether a task is a configuration file of an experiment, and not built in."""
    return task.endswith((".yaml", ".yml"))


def task_name(task: str) -> str:
    """Return a task's name without folder and suffix."""
    return Path(task).stem


def points(study: Study) -> list[Point]:
    """Return the points of the axes that every arm is trained at."""
    sizes = [len(values) for values in study.axes.values()]
    total = math.prod(sizes)
    chosen = np.arange(total)
    if study.points is not None and study.points < total:
        random = np.random.default_rng(0)
        chosen = np.sort(random.choice(total, study.points, replace=False))
    return [
        {key: values[n] for (key, values), n in zip(study.axes.items(), place, strict=True)}
        for _, *place in zip(*np.unravel_index(chosen, (1, *sizes)), strict=True)
    ]


def tuning_trials(study: Study) -> list[Trial]:
    """Return the trials that choose a point for each arm and task; none if nothing is tuned."""
    if not study.tune:
        return []
    seeds = range(1_000, 1_000 + study.tuning_seeds)  # no other trial has these
    return [
        trial(study, task, arm, point, seed, tuning=True)
        for task in study.tasks
        for arm in study.arms
        for point in points(study)
        for seed in seeds
    ]


def main_trials(study: Study, chosen: Mapping[tuple[str, str], Sequence[Point]]) -> list[Trial]:
    """Return the trials that count, at the points ``chosen`` by task and arm.

    They are ordered by seed, so that each seed is complete before the next.
    """
    return [
        trial(study, task, arm, point, seed, tuning=False)
        for seed in range(study.seeds)
        for task in study.tasks
        for arm in study.arms
        for point in chosen[task, arm]
    ]


def trial(study: Study, task: str, arm: str, point: Point, seed: int, tuning: bool) -> Trial:
    """Return a trial. The arm's settings override the point's, which override the common ones."""
    drawn = [f"{key}={written(value)}" for key, value in point.items()]
    parsed = OmegaConf.create({})
    for text in (*study.common, *drawn, *study.arms[arm]):
        parsed.merge_with(override_tree(Config, text))
    settings = flatten(cast(dict[str, Any], OmegaConf.to_container(parsed)))
    treatment = str(settings.pop("treatment", "none"))
    overrides = tuple(f"{key}={written(value)}" for key, value in sorted(settings.items()))
    pairs = tuple(point.items())
    return Trial(task, arm, pairs, seed, overrides, treatment, study.score_every, tuning)


def _structure(study: Study) -> Iterator[Problem]:
    if not study.tasks:
        yield Problem("tasks", "tasks must not be empty")
    if study.control not in study.arms:
        message = f"control: there is no arm {study.control}: {', '.join(study.arms)}"
        yield Problem("control", message)
    if study.tune and not study.axes:
        yield Problem("tune", "tune: there are no axes to tune")
    for key, values in study.axes.items():
        if not values:
            yield Problem(f"axes.{key}", f"axes.{key} has no values")
    yield from _unknown(study)
    yield from _misplaced(study)


def _unknown(study: Study) -> Iterator[Problem]:
    for task in study.tasks:
        if not is_file(task) and task not in BUILT_IN:
            message = f"tasks: there is no {task}: {', '.join(BUILT_IN)}, or a YAML file"
            yield Problem("tasks", message)
    for task in study.thresholds:
        if task not in (known := [task_name(task) for task in study.tasks]):
            message = f"thresholds.{task}: there is no such task: {', '.join(known)}"
            yield Problem(f"thresholds.{task}", message)


def _misplaced(study: Study) -> Iterator[Problem]:
    asked = [(f"axes.{key}", key) for key in study.axes]
    asked += [(f"arms.{arm}", text) for arm, texts in study.arms.items() for text in texts]
    for place, text in asked:
        key = text.partition("=")[0]
        if key.partition(".")[0] in _DATA:
            message = f"{key}: data sets and how they are scored are tasks, not arms or axes"
            yield Problem(place, message)
    for arm in study.arms:
        try:
            treatment = trial(study, "", arm, {}, 0, tuning=False).treatment
        except (YAMLError, OmegaConfBaseException, RecursionError) as error:
            message = f"arms.{arm}: it, or common, is no list of key=value: {first_line(error)}"
            yield Problem(f"arms.{arm}", message)
            continue
        if treatment not in TREATMENTS:
            wanted = ", ".join(TREATMENTS)
            message = f"arms.{arm}: treatment must be one of {wanted}, got {treatment}"
            yield Problem(f"arms.{arm}", message)
