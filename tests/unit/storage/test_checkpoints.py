"""Checkpoints of a workspace, wherever it is."""

import json
from pathlib import Path

import pytest
import torch

from bngan.serialization.checkpoint import CheckpointError
from pipeline.core.lock import OWNER
from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import Workspace
from tests.unit.storage.conftest import Machine


def checkpoints(storage: Workspace) -> Checkpoints:
    return Checkpoints(storage, "training/x")


def save(storage: Workspace, images: int, healthy: bool = False) -> None:
    checkpoints(storage).save(images, {"value": torch.full((2,), float(images))}, healthy)


def latest(storage: Workspace) -> float | None:
    state = checkpoints(storage).latest()
    return None if state is None else float(state["value"][0])


def test_a_training_moves_from_machine_to_machine(machine: Machine) -> None:
    assert latest(machine("a")) is None
    for images in (10, 20, 30):
        save(machine("a"), images)
    assert latest(machine("b")) == 30
    assert checkpoints(machine("b")).saved() == [20, 30]  # two are kept, everywhere
    save(machine("b"), 40)
    assert checkpoints(machine("c")).load(40)["value"][0] == 40
    assert latest(machine("a")) == 40
    checkpoints(machine("a")).discard_after(30)  # what is not to be continued
    assert latest(machine("b")) == 30


def test_what_an_earlier_stay_has_left_is_not_continued(machine: Machine) -> None:
    for images in (10, 20):
        save(machine("a"), images)
    assert latest(machine("b")) == 20
    checkpoints(machine("b")).discard_after(10)
    save(machine("b"), 15)
    assert latest(machine("a")) == 15
    assert checkpoints(machine("a")).saved() == [10, 15]


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(
    machine: Machine, tmp_path: Path
) -> None:
    for images in (10, 20):
        save(machine("a"), images)
    bucket = tmp_path / "bucket" / "workspace" / "training" / "x"
    (bucket / "images-000000000020" / "state.safetensors").write_bytes(b"nothing")
    found = checkpoints(machine("b"))
    state = found.latest()
    assert state is not None
    assert state["value"][0] == 10
    (told,) = found.set_aside
    assert "images-000000000020 is damaged" in told
    assert f"{machine('b')}/training/x" in told
    assert (
        bucket / "images-000000000020" / "state.safetensors"
    ).exists()  # for whoever can mend it
    (bucket / "images-000000000010" / "state.json").unlink()
    for name in ("c", "d"):  # nor does another machine begin anew
        with pytest.raises(CheckpointError, match=r"no checkpoint in file://.* can be used"):
            checkpoints(machine(name)).latest()


def test_the_way_is_not_taken_for_the_original(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloads that come short once are made again; always, nothing good is lost elsewhere."""
    for images in (10, 20):
        save(machine("a"), images)
    download, short = Workspace._download, 1

    def cut(self: Workspace, name: str, target: Path) -> None:
        nonlocal short
        download(self, name, target)
        if short > 0:
            short -= 1
            target.write_bytes(target.read_bytes()[:-1])

    monkeypatch.setattr(Workspace, "_download", cut)
    assert latest(machine("b")) == 20
    short = 1_000
    with pytest.raises(CheckpointError):
        latest(machine("c"))
    short = 0
    assert latest(machine("a")) == 20  # mended from the copy of who wrote it
    assert latest(machine("d")) == 20


def test_the_owner_is_known_everywhere(machine: Machine) -> None:
    assert checkpoints(machine("b")).owner() is None
    machine("a").write(f"training/x/{OWNER}", json.dumps({"attempt": "me"}).encode())
    assert checkpoints(machine("b")).owner() == "me"


def test_an_owner_that_cannot_be_read_is_no_other(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that takes it for one gives up for good; a worker that fails is replaced."""

    def unavailable(self: Workspace, name: str) -> bytes:
        raise OSError("503")

    monkeypatch.setattr(Workspace, "read", unavailable)
    with pytest.raises(OSError, match="503"):
        checkpoints(machine("a")).owner()
