"""A workspace at a URI: machines with copies of their own see the same, or are told what is wrong."""

from pathlib import Path

import pytest

from bngan.serialization.manifest import atomic_folder
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.uris import carries_secret, is_uri
from pipeline.storage.workspace import CACHE, Workspace
from tests.unit.storage.conftest import Machine

NAME = "stages/prepare/0123"


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
    assert machine("b").measure(NAME)[0] > len("second")
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
