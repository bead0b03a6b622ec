"""Trainings that the code at an old commit began, taken up by today's code."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.old_workspace import CHAMPION, CONFIG, FINISHED, HALF_DONE, OldWorkspace, unpack
from tests.integration.old import MORE, NAME, answer, call, client_of, seconds, tags_of, trainings

FAMILIES = [CHAMPION, "bngan-resnet/1", "bngan-dcgan/1", "bngan-transformer/1"]


def training(old: OldWorkspace, *overrides: str) -> tuple[str, ...]:
    return ("run", str(CONFIG), f"workspace={old.workspace}", *overrides)


@pytest.fixture
def own(tmp_path: Path) -> OldWorkspace:
    return unpack(tmp_path)


@dataclass(frozen=True)
class HalfDone:
    """The interrupted training, as the old code left it."""

    name: str
    seen: int
    told: dict[int, float]
    """Seconds, by images seen, up to the checkpoint."""


def half_done(old: OldWorkspace) -> HalfDone:
    (run,) = trainings(old, "attributes.status = 'KILLED'")
    name = run.data.tags["training"]
    (seen,) = checkpoints(old, name)
    return HalfDone(name, seen, up_to(seconds(old, run), seen))


def up_to(course: dict[int, float], seen: int) -> dict[int, float]:
    return {step: value for step, value in course.items() if step <= seen}


def checkpoints(old: OldWorkspace, name: str) -> dict[int, bytes]:
    """The manifest of each checkpoint, by images seen."""
    folders = (old.workspace / "training" / name).glob("images-*")
    return {int(path.name[7:]): (path / "manifest.json").read_bytes() for path in folders}


@dataclass(frozen=True)
class Resumed:
    """The half-done training with some images more, registered beside the old champion."""

    old: OldWorkspace
    before: HalfDone
    result: dict[str, Any]
    told: str


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    old = unpack(tmp_path_factory.mktemp("resumed"))
    before = half_done(old)
    command = training(old, *HALF_DONE, f"train.images={before.seen + MORE}")
    done = call(*command, "--allow-mismatch", "--json")
    return Resumed(old, before, json.loads(done.stdout), done.stderr)


def test_a_half_done_training_of_other_code_is_refused_by_name(own: OldWorkspace) -> None:
    """Of other code: in a checkout of the old commit, without a change, there is nothing to refuse."""
    before = half_done(own)
    kept = checkpoints(own, before.name)
    told = call(*training(own, *HALF_DONE, f"train.images={before.seen + MORE}"), code=2).stderr
    (line,) = (line for line in told.splitlines() if "--allow-mismatch" in line)
    assert before.name in line
    assert re.search(r"\b(bngan|pipeline)\.\w+", line)
    assert checkpoints(own, before.name) == kept


def test_a_half_done_training_goes_on_from_its_checkpoint(resumed: Resumed) -> None:
    before, old = resumed.before, resumed.old
    assert before.told
    condition = f"attributes.status = 'FINISHED' and tags.training = '{before.name}'"
    (run,) = trainings(old, condition)
    assert run.data.tags["mlflow.parentRunId"] == resumed.result["run_id"]
    course = seconds(old, run)
    assert up_to(course, before.seen) == before.told
    assert max(course) == max(checkpoints(old, before.name)) == before.seen + MORE
    assert f"{before.seen:,}" in resumed.told


def test_the_gate_judges_an_old_champion(resumed: Resumed) -> None:
    model, new = resumed.result["model"], f"{NAME}/3"
    assert model["uri"] == f"models:/{new}"
    assert model["alias"] in ("champion", "challenger")
    tags = tags_of(resumed.old, new)
    assert tags["bngan.decision"] == model["alias"]
    assert tags["bngan.reason"].endswith("of champion version 1")
    assert tags["bngan.measure"] == tags_of(resumed.old, CHAMPION)["bngan.measure"]
    records = [
        json.loads(path.read_text())
        for path in resumed.old.workspace.glob("stages/register/*/registration.json")
    ]
    (gate,) = (found["gate"] for found in records if found["uri"] == f"models:/{new}")
    assert gate["champion_version"] == "1"
    opinions = {"kid", "coverage", "authenticity", "batch_norm_gap"}
    assert opinions <= set(gate["second_opinions"])


@pytest.mark.slow
@pytest.mark.parametrize("version", FAMILIES)
def test_a_finished_training_of_each_family_goes_on(own: OldWorkspace, version: str) -> None:
    made_by = client_of(own).get_model_version(*version.split("/")).run_id
    parent = client_of(own).get_run(str(made_by)).data.tags["mlflow.parentRunId"]
    (before,) = trainings(own, f"tags.mlflow.parentRunId = '{parent}'")
    told = seconds(own, before)
    budget = f"train.images={max(told) + MORE}"
    command = training(own, *FINISHED[version], budget, "--to", "train", "--allow-mismatch")
    (after,) = trainings(own, f"tags.mlflow.parentRunId = '{answer(*command)['run_id']}'")
    course = seconds(own, after)
    assert up_to(course, max(told)) == told
    assert max(course) == max(told) + MORE
