"""A workspace at a URI: machines with copies of their own see the same, or are told what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bngan.checkpoint import CheckpointError
from bngan.manifest import atomic_folder
from pipeline.checkpoints import Checkpoints
from pipeline.errors import UserError
from pipeline.lock import OWNER
from pipeline.storage import CACHE, Storage, is_uri

NAME = "stages/prepare/0123"
Machine = Callable[[str], Storage]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Be on the machine of that name: its storage."""
    (tmp_path / "bucket").mkdir()

    def on(name: str) -> Storage:
        monkeypatch.setenv(CACHE, str(tmp_path / name))
        return Storage.parse(f"file://{tmp_path}/bucket/workspace")

    return on


def write(storage: Storage, content: str, name: str = NAME) -> None:
    with atomic_folder(storage.local / name, {"note": content}) as draft:
        (draft / "sub").mkdir()
        (draft / "sub" / "file").write_text(content)
    storage.publish(name)


def content(storage: Storage, name: str = NAME) -> str:
    return (storage.path(name) / "sub" / "file").read_text()


def test_every_machine_gets_what_one_has_written(machine: Machine) -> None:
    assert machine("a").damage(NAME) == f"no outputs at {machine('a')}/{NAME}"
    write(machine("a"), "first")
    assert content(machine("b")) == "first"
    assert machine("b").local != machine("a").local
    write(machine("a"), "second")  # forced: written anew under the same name
    assert content(machine("b")) == "second"
    assert machine("b").folders("stages/prepare") == [NAME]
    assert machine("b").size(NAME) > len("second")
    machine("a").remove(NAME)
    assert machine("b").damage(NAME) == f"no outputs at {machine('b')}/{NAME}"


def test_a_copy_that_is_altered_is_made_anew(machine: Machine) -> None:
    write(machine("a"), "right")
    (machine("b").path(NAME) / "sub" / "file").write_text("wrong")
    assert content(machine("b")) == "right"


@pytest.mark.parametrize("harm", ["alter", "remove", "unlist"])
def test_an_original_that_is_altered_is_named_and_not_used(
    machine: Machine, tmp_path: Path, harm: str
) -> None:
    write(machine("a"), "right")
    assert content(machine("b")) == "right"
    original = tmp_path / "bucket" / "workspace" / NAME
    if harm == "alter":
        (original / "sub" / "file").write_text("wrong")
    elif harm == "remove":
        (original / "sub" / "file").unlink()
    else:
        (original / "manifest.json").write_text("{}")
    problem = machine("c").damage(NAME)
    assert problem is not None
    assert str(machine("c")) in problem
    assert not (machine("c").local / NAME).exists()
    with pytest.raises(OSError, match=r"altered|missing"):
        machine("c").path(NAME)


def test_a_half_written_folder_is_not_there(machine: Machine, tmp_path: Path) -> None:
    write(machine("a"), "right")
    (tmp_path / "bucket" / "workspace" / NAME / "manifest.json").unlink()  # it comes last
    assert str(machine("b").damage(NAME)).startswith("no outputs")


def test_what_is_lent_is_taken_back(machine: Machine) -> None:
    storage = machine("a")
    folder = storage.local / "downloads" / "x"
    folder.mkdir(parents=True)
    (folder / "file").write_text("model")
    with storage.lent(folder):
        assert (machine("b").path("downloads/x") / "file").read_text() == "model"
        machine("a")
    assert machine("c").damage("downloads/x")


def checkpoints(storage: Storage) -> Checkpoints:
    return Checkpoints(storage, "training/x")


def save(storage: Storage, images: int, healthy: bool = False) -> None:
    checkpoints(storage).save(images, {"value": torch.full((2,), float(images))}, healthy)


def latest(storage: Storage) -> float | None:
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
    (bucket / "images-000000000010" / "state.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        checkpoints(machine("c")).latest()


def test_the_owner_is_known_everywhere(machine: Machine) -> None:
    assert checkpoints(machine("b")).owner() is None
    machine("a").write(f"training/x/{OWNER}", json.dumps({"attempt": "me"}).encode())
    assert checkpoints(machine("b")).owner() == "me"


def test_how_a_workspace_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Storage.parse("runs").local == tmp_path / "runs"
    assert not is_uri(Storage.parse("runs").workspace)
    assert Storage.parse("s3://bucket/x?region=y").workspace == "s3://bucket/x?region=y"
    assert str(Storage.parse("s3://bucket/x?region=y")) == "s3://bucket/x"
    with pytest.raises(UserError, match="no credentials"):
        Storage.parse("s3://key:secret@bucket/x")
    with pytest.raises(UserError, match="nowhere://x cannot be opened"):
        _ = Storage.parse("nowhere://x?secret=1").remote
    memory = Storage.parse("memory://bucket")  # by fsspec
    memory.write("file", b"content")
    assert memory.read("file") == b"content"
