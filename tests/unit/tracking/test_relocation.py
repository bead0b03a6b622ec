"""A copied or moved workspace is its own: its database names the files beside it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipeline.core.errors import ServerUnavailableError
from pipeline.tracking import relocation
from pipeline.tracking.database import database_uri
from pipeline.tracking.relocation import BACKUP, LOCATIONS
from pipeline.tracking.tracker import Tracker, all_runs, existing_client, open_store
from tests.databases import DATABASE
from tests.processes import two_at_once
from tests.workspaces import copied, dump, filled, forget_place, same_but_for_the_place

ODD = "my runs #1?%20;é"
TEXTS = ("CHAR", "TEXT", "CLOB", "BLOB", "BINARY", "JSON")
"""Parts of the names of SQL types whose values may be addresses."""
NO_ADDRESS = Path(__file__).with_name("columns_without_address.txt")


@pytest.fixture(autouse=True)
def _store_in_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return filled(tmp_path / "original")


@pytest.mark.parametrize("recorded", [True, False], ids=["with a record", "of an earlier version"])
@pytest.mark.parametrize(("was", "becomes"), [("original", "copy"), ("a", ODD), (ODD, "a/b")])
def test_a_copy_names_its_own_files(
    was: str, becomes: str, recorded: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    original = filled(tmp_path / was)
    copy = copied(original, becomes)
    if not recorded:
        forget_place(copy)
    before, kept = dump(original), dump(copy)
    client = existing_client(copy)
    (told,) = capfd.readouterr().err.splitlines()
    assert told.startswith(f"{copy} was copied or moved from {original}: ")
    assert same_but_for_the_place(copy, original)
    assert dump(original) == before
    with closing(sqlite3.connect(copy / BACKUP)) as backup:
        assert "\n".join(backup.iterdump()) == kept
    (run,) = all_runs(client)
    assert run.info.artifact_uri.startswith(copy.as_uri())
    assert client.get_model_version("gan", "1").source.startswith(copy.as_uri())
    assert client.get_model_version("gan", "2").source == f"file://{tmp_path}/elsewhere"
    path = client.download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
    assert Path(path).read_text() == "a: 1\n"
    for use in (existing_client, lambda folder: Tracker(folder, "x")):
        use(copy)
        use(original)
    assert capfd.readouterr().err == ""
    assert dump(original) == before


def test_a_copy_writes_nothing_into_the_original(original: Path) -> None:
    copy = copied(original, "copy")
    seen = {path: path.stat().st_mtime_ns for path in original.rglob("*")}
    tracker = Tracker(copy, "x")
    tracker.artifact(tracker.start("b", {}), "config.yaml", b"b: 1\n")
    assert {path: path.stat().st_mtime_ns for path in original.rglob("*")} == seen
    assert len(list((copy / "artifacts").rglob("config.yaml"))) == 2


def test_what_only_the_original_has_is_read_there(original: Path) -> None:
    copy = copied(original, "copy")
    tracker = Tracker(original, "x")
    run = tracker.start("b", {})
    tracker.artifact(run, "config.yaml", b"b: 1\n")
    # Earlier versions worked like this in a copy: what is new is in its database, and here.
    shutil.copy(original / DATABASE, copy)
    forget_place(copy)
    client = existing_client(copy)
    places = {each.info.run_id == run: each.info.artifact_uri for each in all_runs(client)}
    assert places[True].startswith(f"{original.as_uri()}/")
    assert places[False].startswith(f"{copy.as_uri()}/")


def test_copies_of_copies_and_moves_and_a_restored_one(original: Path, tmp_path: Path) -> None:
    unopened = copied(original, "unopened")
    second = copied(unopened, "second")
    existing_client(second)
    third = copied(second, "third")
    existing_client(third)
    assert same_but_for_the_place(third, second)
    moved = original.rename(tmp_path / "moved")
    existing_client(moved)
    assert same_but_for_the_place(second, moved)
    shutil.rmtree(third)
    restored = (tmp_path / "elsewhere" / "deep").resolve()
    shutil.copytree(second, restored)
    shutil.rmtree(second)
    existing_client(restored)
    assert same_but_for_the_place(restored, moved)
    back = restored.rename(original)
    existing_client(back)
    assert same_but_for_the_place(back, moved)


def test_two_paths_to_one_folder_are_one_place(
    original: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "link"
    link.symlink_to(original)
    through = tmp_path / "original" / ".." / "original"
    before = dump(original)
    for path in (link, original, through, link):
        existing_client(path)
    assert (capfd.readouterr().err, dump(original)) == ("", before)
    forget_place(original)
    before = dump(original)
    for path in (link, original):
        existing_client(path)
    assert (capfd.readouterr().err, dump(original)) == ("", before)
    made = filled(Path(shutil.copytree(tmp_path / "link", tmp_path / "x") / "y"))
    alias = tmp_path / "alias"
    alias.symlink_to(made)
    made.rename(made.with_name("z"))
    alias.unlink()
    alias.symlink_to(made.with_name("z"))
    existing_client(alias)  # moved, and found through a link
    assert capfd.readouterr().err.startswith(f"{alias} was copied or moved from {made}")
    existing_client(made.with_name("z"))
    assert capfd.readouterr().err == ""


def test_stores_elsewhere_are_left_alone(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = tmp_path / "books"
    books.mkdir()
    shutil.copy(original / DATABASE, books)
    before = dump(books)
    forget_place(books)
    without = dump(books)
    existing_client(books)  # of an earlier version, and no files came along
    assert dump(books) == without
    shutil.copy(original / DATABASE, books)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database_uri(books))
    Tracker(tmp_path / "workspace", "x")
    assert dump(books) == before


def test_a_database_of_two_workspaces_changes_for_its_own(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", database_uri(original))
        Tracker(tmp_path / "other", "y")
    moved = original.rename(tmp_path / "moved")
    client = existing_client(moved)
    places = {name: client.get_experiment_by_name(name).artifact_location for name in "xy"}
    assert places["x"] == (moved / "artifacts").as_uri()
    assert places["y"] == (tmp_path / "other" / "artifacts").as_uri()


def test_a_copy_without_its_files_writes_here(original: Path) -> None:
    copy = original.parent / "copy"
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("artifacts"))
    (old,) = all_runs(existing_client(copy))
    assert old.info.artifact_uri.startswith(f"{original.as_uri()}/")
    tracker = Tracker(copy, "x")
    tracker.artifact(tracker.start("b", {}), "config.yaml", b"b: 1\n")
    assert len(list(original.rglob("config.yaml"))) == 1
    assert len(list((copy / "artifacts").rglob("config.yaml"))) == 1


def name_place(workspace: Path, address: object) -> None:
    with closing(sqlite3.connect(workspace / DATABASE)) as opened:
        opened.execute("UPDATE bngan_place SET uri = ?", (address,))
        opened.commit()


def test_the_line_shows_what_a_terminal_would_obey(
    original: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name_place(original, "file:///x%1b[2J%0Ay%00")
    existing_client(original)
    assert r"moved from /x\x1b[2J\ny\x00: " in capfd.readouterr().err


@pytest.mark.parametrize("record", ["runs", "file:runs", "s3://bucket/runs", "file://[", "", b"/x"])
def test_a_record_that_is_no_absolute_path_is_none(
    record: object, original: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name_place(original, record)
    before = dump(original)
    existing_client(original)
    assert (capfd.readouterr().err, dump(original)) == ("", before)
    Tracker(original, "x")
    existing_client(original)


def test_it_is_all_or_nothing(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = copied(original, "copy")
    before = dump(copy)
    with monkeypatch.context() as patch:
        patch.setattr(relocation, "_record", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            existing_client(copy)
    assert dump(copy) == before
    code = (
        "import os, pathlib, sys; from pipeline.tracking import relocation, tracker;"
        "relocation._record = lambda *_: os.kill(os.getpid(), 9);"
        "tracker.existing_client(pathlib.Path(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(copy)]).returncode == -9
    existing_client(copy)
    assert same_but_for_the_place(copy, original)
    assert [path.name for path in copy.glob(".*")] == []


def test_a_full_disk_is_told_as_one(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = copied(original, "copy")

    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    class Full(sqlite3.Connection):
        backup = full  # type: ignore[assignment]

    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Full))
        with pytest.raises(
            ServerUnavailableError, match="cannot be used: database or disk is full"
        ):
            existing_client(copy)
    existing_client(copy)


def test_two_that_begin_at_once_rewrite_once(original: Path) -> None:
    copy = copied(original, "copy")
    code = (
        "import sys, pathlib; from pipeline.tracking.tracker import open_store as use; input();"
        "use(pathlib.Path(sys.argv[1]))"
    )
    said = two_at_once(code, str(copy))
    assert sum(err.count("was copied or moved") for _, err in said) == 1
    assert same_but_for_the_place(copy, original)


def test_a_copy_that_may_only_be_read_is_read(original: Path) -> None:
    if os.geteuid():
        pytest.skip("only root becomes another user")
    with TemporaryDirectory(prefix="bngan-", dir="/tmp") as folder:  # pytest's own are private
        copy = shutil.copytree(original, Path(folder, "copy"))
        before = dump(copy)
        for path in (copy, copy.parent):
            path.chmod(0o755)
        os.seteuid(65534)
        try:
            open_store(copy)
        finally:
            os.seteuid(0)
        assert dump(copy) == before


def test_every_column_of_mlflows_is_rewritten_or_has_no_address(original: Path) -> None:
    """Judge a new column: if it may have the address of a file, it belongs to ``LOCATIONS``."""
    with closing(sqlite3.connect(original / DATABASE)) as opened:
        tables = opened.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'bngan_place'"
        ).fetchall()
        found = {
            (table, column)
            for (table,) in tables
            for _, column, kind, *_ in opened.execute(f"PRAGMA table_info({table})")
            if any(part in kind.upper() for part in TEXTS) or not kind
        }
    lines = NO_ADDRESS.read_text().splitlines()
    judged = {(table, column) for line in lines for table, *its in [line.split()] for column in its}
    assert set(LOCATIONS) & judged == set()
    assert found == judged | set(LOCATIONS)
