"""A workspace that a group shares: parts that are closed, and a umask that closes what is new."""

import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from bngan.serialization.checkpoint import save_checkpoint
from bngan.serialization.manifest import atomic_folder
from pipeline.core.lock import exclusive_lock
from pipeline.core.ray_internals import JOB_ENVIRONMENT
from pipeline.storage.permissions import access_problem
from pipeline.storage.workspace import Workspace
from pipeline.tracking.tracker import Tracker
from tests.commands import DIGITS, bngan
from tests.databases import DATABASE
from tests.users import GROUP, as_user, closed_to_group, meeting_place, needs_root, share, umask

FIRST, SECOND = 70001, 70002


@pytest.fixture
def place() -> Iterator[Path]:
    with meeting_place() as folder:
        yield folder


@needs_root
@pytest.mark.parametrize("below", ["", "workspace", "a/b"])
def test_the_closed_folder_of_somebody_is_named_with_its_mend(place: Path, below: str) -> None:
    (closed := place / "closed").mkdir(mode=0o700)
    os.chown(closed, FIRST, FIRST)
    assert as_user(FIRST, lambda: access_problem(closed / below)) is None
    assert as_user(SECOND, lambda: access_problem(closed / below)) == (
        f"{closed} cannot be written to (owner user {FIRST}, mode 0700): take another folder, or let "
        "its owner share one: install -d -m 2770 -g GROUP FOLDER"
    )


@needs_root
@pytest.mark.parametrize(
    ("part", "mode"),
    [
        ("stages/train/abc", 0o2700),
        ("stages/train", 0o2755),
        ("stages/train/abc/generator.safetensors", 0o600),
        ("training/x", 0o2755),
        ("training/x/images-000000000064/state.safetensors", 0o600),
        ("locks/workspace/owner.json", 0o644),
        ("stages/train/abc/manifest.json", 0o600),
        ("artifacts", 0o2755),
        ("artifacts/models", 0o2755),
        ("downloads", 0o2755),
        (DATABASE, 0o644),
    ],
)
def test_a_part_that_is_closed_to_the_others_is_named(place: Path, part: str, mode: int) -> None:
    workspace = share(place / "workspace")
    path, folder = workspace / part, mode & 0o2000

    def make() -> None:
        for name in ("stages/train", "training", "studies", path.parent if not folder else path):
            (workspace / name).mkdir(parents=True, exist_ok=True)
        if not folder:
            path.touch()

    as_user(FIRST, make)
    assert as_user(SECOND, lambda: access_problem(workspace)) is None
    path.chmod(mode)
    assert as_user(FIRST, lambda: access_problem(workspace)) is None
    assert as_user(SECOND, lambda: access_problem(workspace)) == (
        f"{path} is closed to you (owner user {FIRST}, mode {mode:04o}): let its owner run "
        f"chmod -R g+rwX {workspace}, and use umask 002"
    )


@needs_root
def test_what_another_user_writes_just_now_is_no_obstacle(place: Path) -> None:
    workspace = share(place / "workspace")
    as_user(FIRST, lambda: (workspace / "training/x").mkdir(parents=True))
    with atomic_folder(workspace / "training/x/images-1", {}) as draft:
        for path in (draft, state := draft / "state.safetensors"):
            path.touch()
            path.chmod(0o2770 if path is draft else 0o600)
            os.chown(path, FIRST, GROUP)
        assert as_user(SECOND, lambda: os.access(state, os.R_OK)) is False
        assert as_user(SECOND, lambda: access_problem(workspace)) is None


def test_of_a_finished_folder_only_its_manifest_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of versions have tens of thousands of files; a second look asks about none."""
    for number in range(10):
        with atomic_folder(tmp_path / f"training/x/images-{number}", {}) as draft:
            (draft / "state.safetensors").touch()
        (made := tmp_path / f"artifacts/models/m-{number}").mkdir(parents=True)
        (made / "weights").touch()
    asked = list[Path]()
    monkeypatch.setattr(os, "access", lambda path, _: asked.append(Path(path)) or True)
    assert access_problem(tmp_path) is None
    below = [path for path in asked if len(path.relative_to(tmp_path).parts) > 2]
    assert sorted({path.name for path in below if path.is_file()}) == ["manifest.json"]
    assert len(below) == 20
    asked.clear()
    assert access_problem(tmp_path) is None
    assert asked == [tmp_path]


def test_a_file_that_goes_meanwhile_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone := tmp_path / "training/x/owner.json").parent.mkdir(parents=True)
    gone.touch()

    def access(path: Path, _: int) -> bool:
        if path == gone:
            gone.unlink()
        return path != gone

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(Path, "exists", lambda _: True)  # it goes after that
    assert access_problem(tmp_path) is None


@pytest.mark.parametrize("mode", [0o2770, 0o2775, 0o770, 0o2750, 0o700, 0o755])
def test_a_umask_is_refused_where_a_group_shares(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    for mask in (0o022, 0o027, 0o077, 0o002, 0o007, 0o000):
        with umask(mask):
            problem = access_problem(tmp_path)
            assert os.umask(mask) == mask  # it is as it was
        closes = mode in (0o2770, 0o2775) and mask & 0o070
        shared = f"{tmp_path} is shared by a group"
        text = f"{shared}, and umask {mask:03o} closes new files to it: run umask 002"
        assert problem == (text if closes else None)


def test_a_job_is_sent_to_where_its_umask_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o2770)
    monkeypatch.setenv(JOB_ENVIRONMENT, "{}")
    with umask(0o022):
        assert str(access_problem(tmp_path)).endswith(
            "run umask 002 before ray start on the cluster"
        )


def test_an_access_list_counts_in_place_of_the_umask(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    entries = [(1, 7), (4, 7), (0x20, 0)]  # the owner, the group, others
    packed = b"".join(struct.pack("<HHI", tag, rights, 0xFFFFFFFF) for tag, rights in entries)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", struct.pack("<I", 2) + packed)
    except OSError:
        pytest.skip("this file system has no access lists")
    with umask(0o022):
        assert access_problem(tmp_path) is None
        (tmp_path / "new").mkdir()
    assert (tmp_path / "new").stat().st_mode & 0o070 == 0o070


@pytest.mark.parametrize(
    "command",
    [
        ("run", DIGITS, "workspace={}"),
        ("plan", DIGITS, "workspace={}"),
        ("validate", DIGITS, "workspace={}"),
        ("gc", "--delete", "--workspace", "{}"),
        ("promote", "m", "1", "--workspace", "{}"),
        ("rollback", "m", "--workspace", "{}"),
    ],
)
def test_a_command_that_would_close_its_files_writes_none(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    if command[0] not in ("run", "plan", "validate"):
        Tracker(tmp_path, "x")  # which these want
    tmp_path.chmod(0o2770)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with umask(0o022):
        told = bngan(*(word.format(tmp_path) for word in command), code=2).stderr
    (line,) = [line for line in told.splitlines() if "umask" in line]
    assert line.endswith("umask 022 closes new files to it: run umask 002")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("mask", [0o002, 0o007, 0o077])
def test_whoever_writes_leaves_it_open_to_the_group(tmp_path: Path, mask: int) -> None:
    """All that writes into a workspace itself; ``integration/test_two_users.py`` has the commands."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    workspace.chmod(0o2770 if mask < 0o070 else 0o700)
    with umask(mask):
        storage = Workspace(str(workspace))
        Tracker(workspace, "x")
        with closing(sqlite3.connect(workspace / DATABASE, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("CREATE TABLE t (x)")
            assert (workspace / f"{DATABASE}-journal").exists()
            with exclusive_lock(workspace / "training" / "x", "it"):
                save_checkpoint(workspace / "training" / "x" / "images-1", {"x": torch.ones(1)})
                storage.write("studies/trials/a.json", b"{}")
                with storage.scratch("check"):
                    closed = closed_to_group(workspace)
            database.execute("ROLLBACK")
    if mask < 0o070:
        assert closed == []
    else:  # one's own stays one's own
        modes = {path.stat().st_mode & 0o077 for path in workspace.rglob("*")}
        assert modes == {0}
