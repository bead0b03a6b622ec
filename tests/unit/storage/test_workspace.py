"""A workspace at a URI: machines with copies of their own see the same, or are told what is wrong."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bngan.serialization.checkpoint import CheckpointError
from bngan.serialization.manifest import atomic_folder
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.lock import OWNER
from pipeline.core.uris import carries_secret, is_uri
from pipeline.storage import sharing
from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import CACHE, Workspace

NAME = "stages/prepare/0123"
Machine = Callable[[str], Workspace]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Be on the machine of that name: its storage."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    (tmp_path / "bucket").mkdir()

    def on(name: str) -> Workspace:
        monkeypatch.setenv(CACHE, str(tmp_path / name))
        return Workspace.parse(f"file://{tmp_path}/bucket/workspace")

    return on


def write(storage: Workspace, content: str, name: str = NAME) -> None:
    with atomic_folder(storage.local / name, {"note": content}) as draft:
        (draft / "sub").mkdir()
        (draft / "sub" / "file").write_text(content)
    storage.publish(name)


def content(storage: Workspace, name: str = NAME) -> str:
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
    with sharing.published(storage, folder):
        assert (machine("b").path("downloads/x") / "file").read_text() == "model"
        machine("a")
    assert machine("c").damage("downloads/x")


def test_what_a_killed_process_has_lent_goes_a_day_later_and_so_do_copies(machine: Machine) -> None:
    """Nobody is left to take it back, nor to tell the machines that have copied it."""
    lives = [f"downloads/.model.tmp-{number}" for number in range(2)]
    for name in lives:
        write(machine("a"), "model", f"{name}/generator")
        sharing.fetch(machine("b"), f"{name}/generator")
    bucket = Path(machine("a").workspace.removeprefix("file://"))
    for top in (bucket / lives[0], machine("b").local / lives[0]):
        for path in (top, *top.rglob("*")):
            os.utime(path, (1, 1))
    write(machine("a"), "other")
    with sharing.published(machine("a"), machine("a").local / NAME):
        assert [(bucket / name / "generator").exists() for name in lives] == [False, True]
    sharing.fetch(machine("b"), f"{lives[1]}/generator")
    assert [(machine("b").local / name).exists() for name in lives] == [False, True]


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


def test_a_place_for_a_while(machine: Machine, tmp_path: Path) -> None:
    storage = machine("a")
    with storage.scratch("check") as folder:
        write(storage, "content", storage.key(folder / "x"))
        assert (tmp_path / "bucket" / "workspace" / storage.key(folder)).exists()
        name = storage.key(folder)
    assert not folder.exists()
    assert not (tmp_path / "bucket" / "workspace" / name).exists()


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("s3://bucket/x", False),
        ("abfs://container@account/x", False),
        ("s3://bucket/x?region=y&scheme=http", False),
        ("s3://key:word@bucket/x", True),
        ("s3+x://me:pw@h", True),
        ("http://me@host", True),
        ("abfs://c/x?client_secret=S", True),
        ("s3://b/x?a=b&SharedAccessSig=S", True),
    ],
)
def test_secrets_in_uris_are_recognised(uri: str, secret: bool) -> None:
    assert carries_secret(uri) == secret


def test_how_a_workspace_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert Workspace.parse("runs").local == tmp_path / "runs"
    assert not is_uri(Workspace.parse("runs").workspace)
    with pytest.raises(UserError, match="needs an MLflow server"):
        Workspace.parse("s3://bucket/x")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    monkeypatch.setenv(CACHE, "cache")
    assert Workspace.parse("s3://bucket/x").local.is_relative_to(tmp_path / "cache")
    assert Workspace.parse("s3://bucket/x?region=y").workspace == "s3://bucket/x?region=y"
    assert str(Workspace.parse("s3://bucket/x?region=y")) == "s3://bucket/x"
    with pytest.raises(UserError, match="no secrets"):
        Workspace.parse("s3://key:secret@bucket/x")
    with pytest.raises(UserError, match="nowhere://x cannot be opened") as refused:
        _ = Workspace.parse("nowhere://x?hidden=1").remote
    assert "hidden" not in str(refused.value)
    memory = Workspace.parse("memory://bucket")  # by fsspec
    memory.write("file", b"content")
    assert memory.read("file") == b"content"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (
            "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7",
            ServerUnavailableError,
        ),
        ("AWS Error UNKNOWN (HTTP status 500) during HeadObject operation", ServerUnavailableError),
        ("AWS Error NO_SUCH_BUCKET during HeadObject operation", UserError),
    ],
)
def test_an_object_store_that_is_away_may_be_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, reason: str, kind: type[UserError]
) -> None:
    def fails(*_: object) -> None:
        raise OSError(reason)

    monkeypatch.setattr(Workspace, "has", fails)
    with pytest.raises(UserError, match="cannot be reached: AWS Error") as raised:
        machine("a").check_writable()
    assert type(raised.value) is kind
