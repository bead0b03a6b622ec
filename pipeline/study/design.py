"""A study's schema, and the trials it consists of."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from omegaconf import MISSING

from bngan.manifest import digest
from pipeline.config import absolute_workspace, read
from pipeline.errors import UserError

Point = dict[str, Any]
"""Values of a study's axes, by configuration key."""
TREATMENTS = ("none", "data_dependent", "frozen_statistics")


@dataclass
class Endpoint:
    """What the study is about: declared before it runs, and the one that effects are told of."""

    measure: Literal["final", "images_to", "seconds_to", "area"] = "final"
    """The best generator's score on the test images; images or CPU-seconds until the score reaches
    ``threshold``; or the mean of the score's logarithm over the training."""
    threshold: float | None = None
    """A score that counts as reached."""


@dataclass
class Study:
    """Arms that differ by what is asked about, on the same tasks, from the same seeds."""

    name: str = MISSING
    """Of the experiment in MLflow."""
    tasks: list[str] = MISSING
    """ring8, grid25, stacked_digits, or configuration files of experiments, relative to the study's."""
    arms: dict[str, list[str]] = MISSING
    """Configurations that are compared: key=value, as on the command line, by name. ``treatment=`` is a
    key as well: data_dependent initialisation, or frozen_statistics of batch norm after it."""
    control: str = MISSING
    """The arm that the others are compared with."""
    common: list[str] = field(default_factory=list)
    """key=value for all arms."""
    axes: dict[str, list[Any]] = field(default_factory=dict)
    """Values of other keys, which every arm meets."""
    points: int | None = None
    """Random points of the axes; null: all of them."""
    tune: bool = False
    """Each arm's best point is found on seeds of its own, and the others are dropped; or all count."""
    tuning_seeds: int = 2
    """Seeds for that."""
    seeds: int = 12
    """Seeds that all arms share: 5 tell apart what differs by a factor of 1.7, no less."""
    score_every: int = 6_400
    """Images between two scores."""
    at_once: int = 2
    """Trials that run together, one CPU each."""
    endpoint: Endpoint = field(default_factory=Endpoint)
    workspace: str = "runs"
    """As an experiment's."""


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        overrides: everything that is not the task's own, as key=value.
        treatment: what is done to the initial networks beyond the configuration.
        tuning: whether it only serves to choose the arm's point.
    """

    task: str
    arm: str
    point: tuple[tuple[str, Any], ...]
    seed: int
    overrides: tuple[str, ...]
    treatment: str
    score_every: int
    tuning: bool

    @property
    def identity(self) -> str:
        """The same for the same training, whatever study asks for it."""
        known = asdict(self) | {"arm": None, "tuning": None, "point": None}
        return digest(known)[:16]


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study's YAML file, with every path made absolute.

    Raises:
        UserError: naming what is wrong with it.
    """
    study = read(Study, path, overrides)
    study.workspace = absolute_workspace(study.workspace)
    study.tasks = [_task(path, task) for task in study.tasks]
    for problem in _problems(study):
        raise UserError(problem)
    return study


def _task(study: Path, task: str) -> str:
    return str((study.parent / task).absolute()) if task.endswith((".yaml", ".yml")) else task


def points(study: Study) -> list[Point]:
    """Points of the axes that every arm meets."""
    every = [dict(zip(study.axes, values, strict=True)) for values in _product(study.axes)]
    if study.points is None or study.points >= len(every):
        return every
    chosen = np.random.default_rng(0).choice(len(every), study.points, replace=False)
    return [every[index] for index in sorted(chosen)]


def _product(axes: Mapping[str, list[Any]]) -> Iterator[tuple[Any, ...]]:
    return itertools.product(*axes.values())


def tuning_trials(study: Study) -> list[Trial]:
    """Those that choose a point for each arm and task; none where nothing is tuned."""
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
    """Those that count, at the points ``chosen`` by task and arm; seed by seed, so that each seed is
    complete before the next."""
    return [
        trial(study, task, arm, point, seed, tuning=False)
        for seed in range(study.seeds)
        for task in study.tasks
        for arm in study.arms
        for point in chosen[task, arm]
    ]


def trial(study: Study, task: str, arm: str, point: Point, seed: int, tuning: bool) -> Trial:
    """One of a study's trials."""
    settings = [*study.common, *study.arms[arm], *(f"{k}={v}" for k, v in point.items())]
    treatments = [s.partition("=")[2] for s in settings if s.startswith("treatment=")]
    return Trial(
        task,
        arm,
        tuple(point.items()),
        seed,
        tuple(s for s in settings if not s.startswith("treatment=")),
        treatments[-1] if treatments else "none",
        study.score_every,
        tuning,
    )


def _problems(study: Study) -> Iterator[str]:
    if study.control not in study.arms:
        yield f"control: there is no arm {study.control}: {', '.join(study.arms)}"
    if study.tune and not study.axes:
        yield "tune: there are no axes to tune"
    for name in ("seeds", "tuning_seeds", "score_every", "at_once"):
        if getattr(study, name) < 1:
            yield f"{name} must be at least 1, got {getattr(study, name)}"
    if study.endpoint.measure.endswith("_to") and study.endpoint.threshold is None:
        yield f"endpoint.threshold: {study.endpoint.measure} needs one"
    for arm in study.arms:
        treatment = trial(study, "", arm, {}, 0, tuning=False).treatment
        if treatment not in TREATMENTS:
            yield f"arms.{arm}: treatment must be one of {', '.join(TREATMENTS)}, got {treatment}"
