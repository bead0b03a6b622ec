"""The newest results and what they need stay, whatever order and experiments they come in."""

import json
from pathlib import Path

import pytest

from pipeline.core.errors import RetryableError
from pipeline.storage.workspace import Workspace
from pipeline.tracking.tracker import Tracker
from pipeline.workflow.cleanup import Item, Key
from pipeline.workflow.retention import Invocation, newest, no_command_at_work, surplus
from tests.unit.storage.conftest import Machine, machine  # noqa: F401

KINDS = ("prepare", "train", "training")


def made(started: int, names: str, experiment: str = "x", base: str = "") -> Invocation:
    """What an invocation used: ``p1 t1 c1`` are outputs of prepare and train, and a training."""
    kind = dict(zip("ptc", KINDS, strict=True))
    return Invocation(experiment, started, {(kind[n[0]], n) for n in names.split()}, base=base)


def names(kept: set[Key]) -> str:
    return " ".join(sorted(name for _, name in kept))


@pytest.mark.parametrize(
    ("keep", "needed", "stays"),
    [
        (1, "", "c3 p2 t3"),
        (2, "", "c1 c3 p1 p2 t1 t3"),  # t1 was used again after t2 was made
        (3, "", "c1 c2 c3 p1 p2 t1 t2 t3"),
        (1, "t2", "c3 p1 p2 t2 t3"),  # with its inputs, without its checkpoints
        (1, "c2", "c2 c3 p1 p2 t2 t3"),  # unfinished: with all of it
    ],
)
def test_the_newest_stay_with_what_they_used(keep: int, needed: str, stays: str) -> None:
    runs = [made(1, "p1 t1 c1"), made(2, "p1 t2 c2"), made(3, "p1 t1 c1"), made(4, "p2 t3 c3")]
    here = set[Key]().union(*(run.folders for run in runs))
    wanted = {key for key in here if key[1] in needed.split()}
    for order in (runs, runs[::-1]):
        assert names(newest(order, here, keep, wanted)[0]) == stays


def test_each_experiment_keeps_its_own_and_bases_count_if_theirs_stay() -> None:
    runs = [made(1, "p1 t1 c1", base="old"), made(2, "p2 t2 c2", base="new")]
    runs += [made(3, "p1 t3 c3", "y")]
    here = set[Key]().union(*(run.folders for run in runs))
    assert newest(runs, here, 1, set()) == (
        here - runs[0].folders | {("prepare", "p1")},
        {"new", ""},
    )
    gone = here - runs[1].folders  # what is not there does not count among the newest
    assert names(newest(runs, gone, 1, set())[0]) == "c1 c3 p1 t1 t3"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three trainings of one experiment, the first of them interrupted and the newest finished."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = Tracker(tmp_path, "x")
    for number, status in enumerate(("KILLED", "FINISHED", "FINISHED")):
        parent = tracker.start("x", {"bngan.kind": "pipeline"})
        fingerprint = f"{number:016x}"
        tags = {"stage": "train", "fingerprint": fingerprint + "0" * 48, "training": f"x-{number}"}
        tracker.finish(tracker.start("train", tags, parent), status)
        tracker.tags(parent, {"uses.prepare": fingerprint})
        tracker.finish(parent, status)
        for name in (f"stages/prepare/{fingerprint}", f"training/x-{number}"):
            (tmp_path / name).mkdir(parents=True)
            (tmp_path / name / "file").write_bytes(b"x" * 1000)
        if status == "FINISHED":
            (tmp_path / f"stages/train/{fingerprint}").mkdir(parents=True)
    return tmp_path


def paths(items: list[Item]) -> list[str]:
    return sorted(item.path for item in items)


def test_an_unfinished_training_stays_with_its_data(workspace: Path) -> None:
    found = surplus(Workspace(str(workspace)), 1)
    one = f"{1:016x}"
    assert paths(found.folders) == [f"stages/prepare/{one}", f"stages/train/{one}", "training/x-1"]
    (training,) = (item for item in found.folders if item.path == "training/x-1")
    assert training.bytes == 1000
    told = "finished; with more train.images it would start anew; not the newest of x"
    assert training.reason == told
    assert surplus(Workspace(str(workspace)), 2).folders == []


def test_a_base_in_the_workspace_stays(workspace: Path) -> None:
    tracker, one = Tracker(workspace, "adapted"), f"{1:016x}"
    run_id = tracker.start("adapted", {"bngan.kind": "pipeline"})
    tracker.params(run_id, {"adapt.base": f"{workspace}/stages/train/{one}"})
    tracker.tags(run_id, {"uses.prepare": f"{2:016x}"})
    # The data that made it stays with it; its checkpoints do not.
    assert paths(surplus(Workspace(str(workspace)), 1).folders) == ["training/x-1"]


@pytest.mark.parametrize("kind", ["pipeline", "study", "drift"])
def test_a_command_on_another_machine_is_waited_for(workspace: Path, kind: str) -> None:
    tracker = Tracker(workspace, "x")
    process = {"pid": 7, "user": "somebody", "host": "afar", "machine": "another"}
    tags = {"bngan.kind": kind, "bngan.process": json.dumps(process)}
    run_id = tracker.start("x", tags)
    if kind == "drift":  # reads the champion, and no folder
        with no_command_at_work(Workspace(str(workspace))):
            return
    with pytest.raises(RetryableError, match="process 7 of somebody on afar works in"):
        no_command_at_work(Workspace(str(workspace))).__enter__()
    tracker.finish(run_id, "KILLED")
    with no_command_at_work(Workspace(str(workspace))):
        pass
