"""Nothing is followed out of a workspace, and what cannot be removed is told."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.core.lock import exclusive_lock, shared_lock
from pipeline.storage.stores import forget, record_use, release, store_of, users_of
from pipeline.storage.workspace import Workspace
from pipeline.tracking.tracker import Tracker
from pipeline.workflow.cleanup import UNKNOWN
from tests.commands import bngan
from tests.unit.storage.conftest import Machine, machine  # noqa: F401


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One output is used by a run; another one and a training were used by runs that are gone."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    here = tmp_path / "workspace"
    tracker = Tracker(here, "x")
    tracker.tags(tracker.start("x", {"bngan.kind": "pipeline"}), {"uses.prepare": "used"})
    for name in ("stages/prepare/used", "stages/prepare/unused", "training/x"):
        record_use(Workspace(str(here)), name, tracker.store, tracker.uri)
        (here / name).mkdir(parents=True)
        (here / name / "file").write_bytes(b"x" * 1_000_000)
    return here


@pytest.mark.parametrize("linked", ["stages/prepare/unused", "training/x", "training", "stages"])
def test_links_lead_nowhere(workspace: Path, tmp_path: Path, linked: str) -> None:
    (workspace / linked).rename(tmp_path / "elsewhere")
    (workspace / linked).symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").rglob("*"))
    told = bngan("gc", "--delete", "--workspace", workspace).stderr
    assert f"stays: {linked} is a symbolic link" in told
    assert (workspace / linked).is_symlink()
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before


def test_files_that_cannot_be_removed_are_told_again_and_again(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_part(path: Any, **_: Any) -> None:
        (Path(path) / "file").exists()

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", in_part)
        for _ in range(2):
            told = bngan("gc", "--delete", "--workspace", workspace, code=2).stderr
            assert told.count("cannot be removed whole") == 2
            assert "/stages/prepare/.unused.tmp-" in told
    # Killed, or without the right, or whatever it was: the same again finishes it.
    bngan("gc", "--delete", "--workspace", workspace)
    assert [path.name for path in workspace.glob("stages/*/*")] == ["used"]
    assert list(workspace.glob("training/*")) == []


def test_an_output_at_a_uri_loses_what_counts_first(
    machine: Machine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage: Workspace = machine("a")
    for name in ("training/x/images-1/manifest.json", "training/x/images-1/state"):
        storage.write(name, b"{}")

    class Killed:
        def __getattr__(self, name: str) -> Any:
            return getattr(filesystem, name)

        def delete_dir(self, _: str) -> None:
            raise KeyboardInterrupt

    filesystem = storage._filesystem
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "_filesystem", Killed())
        with pytest.raises(KeyboardInterrupt):
            storage.unpublish("training/x")
    assert not storage.has("training/x/images-1/manifest.json")
    assert storage.has("training/x/images-1/state")
    storage.unpublish("training/x")
    assert storage.folders("training") == []


class Store:
    """An MLflow store that works on the workspace, beside others."""

    def __init__(self, workspace: Path, database: Path) -> None:
        self.workspace, self.uri = workspace, f"sqlite:///{database}"
        with self.here():
            self.tracker = Tracker(workspace, "x")

    @contextmanager
    def here(self) -> Iterator[None]:
        with patch.dict(os.environ, MLFLOW_TRACKING_URI=self.uri):
            yield

    def use(self, *names: str) -> list[str]:
        """Use each folder in a run, make those that are missing, and return the runs."""
        runs = list[str]()
        for name in names:
            record_use(Workspace(str(self.workspace)), name, self.tracker.store, self.uri)
            (self.workspace / name).mkdir(parents=True, exist_ok=True)
            (self.workspace / name / "file").touch()
            kind, used = name.split("/")[-2:]
            tags = {"bngan.kind": "pipeline", f"uses.{kind}": used}
            runs.append(self.tracker.start("x", tags))
            self.tracker.finish(runs[-1], "FINISHED")
        return runs

    def delete(self, runs: list[str]) -> None:
        for run_id in runs:
            self.tracker.client.delete_run(run_id)

    def gc(self, *options: str, code: int = 0) -> Any:
        """What gc removes (or lists), and what it leaves, with the reason."""
        with self.here():
            told = bngan("gc", "--json", "--workspace", self.workspace, *options, code=code)
        if code:
            return told.stderr
        found = json.loads(told.stdout)
        gone = sorted(folder["path"] for folder in found["folders"])
        return gone, {folder["path"]: folder["reason"] for folder in found["others"]}


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Store]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace = tmp_path / "workspace"
    return Store(workspace, workspace / "mlflow.db"), Store(workspace, tmp_path / "other.db")


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("options", [(), ("--keep", "1")])
def test_a_store_leaves_what_another_one_uses(
    two: tuple[Store, Store], inside: bool, options: tuple[str, ...]
) -> None:
    one, other = two if inside else two[::-1]
    theirs, shared, own, newest = "training/theirs", *(f"stages/train/{n}" for n in ("a", "b", "c"))
    their_runs = other.use(theirs, shared)
    runs = one.use(shared, own, newest)
    gone = [own]
    if not options:
        one.delete(runs)
        gone = [own, newest]
    left = dict.fromkeys((shared, theirs), f"used by another store, {other.uri}")
    assert one.gc(*options) == (gone, left)
    assert one.gc(*options, "--delete") == (gone, left)
    assert one.gc(*options, "--delete") == ([], left)
    rest = {newest: f"used by another store, {one.uri}"} if options else {}
    assert other.gc("--delete") == ([], rest)
    other.delete(their_runs)
    if options:  # the runs of the first are still there
        assert other.gc("--delete") == ([theirs], rest | {shared: rest[newest]})
    else:
        assert other.gc("--delete") == ([shared, theirs], {})
        assert list((one.workspace / "stores").glob("*/*")) == []


def test_what_no_store_knows_goes_by_its_name_only(two: tuple[Store, Store]) -> None:
    one, other = two
    by_hand, old, theirs = "stages/train/by-hand", "training/old", "training/theirs"
    for name in (by_hand, old):
        (one.workspace / name).mkdir(parents=True)
    one.delete(one.use(old))  # other stores may have used it before there were records
    other.use(theirs)
    left = {by_hand: UNKNOWN, old: UNKNOWN, theirs: f"used by another store, {other.uri}"}
    assert one.gc("--delete") == ([], left)
    listed = bngan("gc", "--workspace", one.workspace, old + "/", theirs).stdout
    assert f"training/old  0 days old, {UNKNOWN}" in listed
    assert f"training/theirs  0 days old, {left[theirs]}" in listed
    assert "2 folders, 0.0 MB: named; --delete removes them" in listed
    assert one.gc("--delete", old, theirs, old) == ([old, theirs], {})
    assert one.gc("--delete") == ([], {by_hand: UNKNOWN})
    told = one.gc("--delete", by_hand, "training/gone", code=2)
    assert "there is no training/gone in" in told
    assert "--keep chooses" in one.gc("--keep", "1", by_hand, code=2)
    assert (one.workspace / by_hand).is_dir()


@pytest.mark.parametrize("held", ["training/x", "locks/train-x", "locks/workspace"])
def test_a_folder_in_use_does_not_go_by_its_name(two: tuple[Store, Store], held: str) -> None:
    one, names = two[0], ("stages/train/x", "training/x")
    one.use(*names)
    lock = shared_lock if held == "locks/workspace" else exclusive_lock
    with lock(one.workspace / held, "it"):
        for name in names:
            refused = held == "locks/workspace" or held.endswith(
                name.replace("stages/train/", "train-")
            )
            if refused:
                one.gc("--delete", name, code=3)
            assert (one.workspace / name).is_dir()
    assert one.gc("--delete", *names) == (list(names), {})


def test_a_store_is_the_same_wherever_it_is(two: tuple[Store, Store], tmp_path: Path) -> None:
    """A database moves, and a second experiment takes the id of the first."""
    one, moved = two[1], tmp_path / "moved.db"
    runs = one.use("training/x")
    (tmp_path / "other.db").rename(moved)
    again = Store(one.workspace, moved)
    with again.here():
        assert again.tracker.store == one.tracker.store == Tracker(one.workspace, "y").store
    assert again.tracker.store != two[0].tracker.store
    again.delete(runs)
    assert again.gc("--delete") == (["training/x"], {})


def test_a_copy_of_a_database_leaves_what_the_original_uses_and_the_reverse(
    two: tuple[Store, Store], tmp_path: Path
) -> None:
    one = two[0]
    before = one.use("training/before")
    shutil.copy(one.workspace / "mlflow.db", tmp_path / "copy.db")
    copy = Store(one.workspace, tmp_path / "copy.db")
    assert copy.tracker.store == one.tracker.store
    ones = one.use("training/one", "training/both")
    both = copy.use("training/copy", "training/both")
    by_one, by_copy = (f"used by another store, {store.uri}" for store in (one, copy))
    copy.delete([*before, both[1]])
    left = {"training/before": by_one, "training/both": by_one, "training/one": by_one}
    assert copy.gc("--delete") == ([], left)
    assert one.gc("--delete") == ([], {"training/copy": by_copy})
    one.delete([*before, *ones])  # the copy has given up its use
    assert one.gc("--delete") == (sorted(left), {"training/copy": by_copy})
    (tmp_path / "copy.db").unlink()
    assert one.gc("--delete") == (["training/copy"], {})


def test_a_copied_workspace_removes_its_own_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    original = Store(tmp_path / "a", tmp_path / "a" / "mlflow.db")
    runs = original.use("training/x")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copied = Store(tmp_path / "b", tmp_path / "b" / "mlflow.db")
    copied.delete(runs)
    assert copied.gc("--delete") == (["training/x"], {})
    assert (tmp_path / "a/training/x").is_dir()


def test_records_that_another_gc_removes_meanwhile_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, read = Workspace(str(tmp_path)), Workspace.read
    record_use(storage, "training/x", "id", "https://host")

    def removed(self: Workspace, name: str) -> bytes:
        forget(storage, "training/x")
        return read(self, name)

    monkeypatch.setattr(Workspace, "read", removed)
    users = users_of(storage, "training/x")
    assert (users.addresses, users.complete) == ({}, False)


def test_a_store_recorded_has_no_password(tmp_path: Path) -> None:
    storage = Workspace(str(tmp_path))
    record_use(storage, "training/x", "id", "https://me:SECRET@host/?token=SECRET")
    (mark,) = users_of(storage, "training/x").addresses
    assert store_of(mark) == "id"
    assert "SECRET" not in (tmp_path / "stores/training/x" / mark).read_text()


def test_stores_of_a_workspace_at_a_uri(machine: Machine) -> None:  # noqa: F811
    for name in ("a", "b"):
        storage: Workspace = machine(name)
        record_use(storage, "training/x", name, name)
        storage.write("training/x/owner.json", b"{}")
    users = users_of(storage, "training/x")
    marks = {address: mark for mark, address in users.addresses.items()}
    assert ({*map(store_of, marks.values())}, users.complete) == ({"a", "b"}, True)
    release(storage, "training/x", marks["a"])
    assert users_of(machine("c"), "training/x").addresses == {marks["b"]: "b"}
    forget(storage, "training/x")
    assert users_of(machine("a"), "training/x").addresses == {}
    record_use(storage, "training/x", "a", "a")
    assert not users_of(storage, "training/x").complete
