"""Trainings that the code at an old commit began, taken up by today's code."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from tests.fixtures.old_runs import CHAMPION, CONFIG, CONTINUED, FINISHED, HALF_DONE, MORE
from tests.fixtures.old_workspace import OldWorkspace, unpack
from tests.integration.old import NAME, call, tags_of

LIKE = {"rel": 1e-5, "abs": 1e-6}
"""Largest difference between metrics of the same course. The same sums in the same order have the same
bits. Moments of the optimiser that belong to other weights make a larger difference."""


@dataclass(frozen=True)
class Begun:
    """A training, as the old code left it."""

    name: str
    seen: int
    course: dict[int, float]
    """Seconds that it had taken, by images seen, up to its checkpoint."""

    @property
    def longer(self) -> list[str]:
        """Overrides with which it goes on."""
        return [f"train.images={self.seen + MORE}"]


def begun(old: OldWorkspace, name: str) -> Begun:
    run = old.begun(name)
    seen = int(old.checkpoint(run).name[7:])
    return Begun(run.data.tags["training"], seen, up_to(seen, seconds(old, run)))


def seconds(old: OldWorkspace, run: Run) -> dict[int, float]:
    """Wall time, which no other training has alike."""
    points = old.client.get_metric_history(run.info.run_id, "seconds")
    return {point.step: point.value for point in points}


def up_to(seen: int, course: dict[int, float]) -> dict[int, float]:
    return {step: value for step, value in course.items() if step <= seen}


def command(old: OldWorkspace, name: str, *more: str) -> list[str]:
    return ["run", str(CONFIG), f"workspace={old.workspace}", *CONTINUED[name], *more]


@dataclass(frozen=True)
class Resumed:
    """A training with some images more."""

    old: OldWorkspace
    before: Begun
    result: dict[str, Any]
    told: str

    def require_continued(self, name: str) -> None:
        """Nothing is made again, and it ends where the old code would have come to."""
        seen = self.before.seen
        run = self.old.training(f"tags.mlflow.parentRunId = '{self.result['run_id']}'")
        course = seconds(self.old, run)
        assert up_to(seen, course) == self.before.course
        assert max(course) == seen + MORE
        assert run.data.tags["training"] == self.before.name
        assert self.old.checkpoint(run).name == f"images-{seen + MORE:012d}"
        assert f"{seen:,}" in self.told
        ends = {key: run.data.metrics[key] for key in self.old.ends[name]}
        assert ends == pytest.approx(self.old.ends[name], **LIKE)


def resume(old: OldWorkspace, name: str, *more: str) -> Resumed:
    before = begun(old, name)
    done = call(*command(old, name, *before.longer, *more, "--allow-mismatch", "--json"))
    return Resumed(old, before, json.loads(done.stdout), done.stderr)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    """The half-done training, registered beside the old champion."""
    return resume(unpack(tmp_path_factory.mktemp("resumed")), HALF_DONE)


def test_a_half_done_training_of_other_code_is_refused_by_name(tmp_path: Path) -> None:
    """Of other code: in a checkout of the old commit, without a change, there is nothing to refuse."""
    old = unpack(tmp_path)
    before = begun(old, HALF_DONE)
    told = call(*command(old, HALF_DONE, *before.longer), code=2).stderr
    (line,) = (line for line in told.splitlines() if "--allow-mismatch" in line)
    assert before.name in line
    assert re.search(r"\b(bngan|pipeline)\.\w+", line)
    kept = {path.name for path in (old.workspace / "training" / before.name).glob("images-*")}
    assert kept == {f"images-{before.seen:012d}"}


def test_a_half_done_training_goes_on_from_its_checkpoint(resumed: Resumed) -> None:
    assert resumed.before.course
    resumed.require_continued(HALF_DONE)


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
    vetoes = {"kid", "coverage", "authenticity", "copies", "batch_norm_gap"}
    assert vetoes <= set(gate["vetoes"])


@pytest.mark.slow
@pytest.mark.parametrize("version", sorted(CONTINUED.keys() & FINISHED.keys()))
def test_a_finished_training_of_each_family_goes_on(tmp_path: Path, version: str) -> None:
    resume(unpack(tmp_path), version, "--to", "train").require_continued(version)
