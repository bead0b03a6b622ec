"""A database is looked at before MLflow opens it: one line says what is wrong with the file."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.tracking import database as databases
from pipeline.tracking.database import database_uri, make_database, require_database
from pipeline.tracking.tracker import Tracker, existing_client
from tests.databases import DATABASE
from tests.users import umask
from tests.waiting import until

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make_database(tmp_path / DATABASE)
    return tmp_path / DATABASE


def change(path: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(path)) as opened:
        opened.execute(statement, values)
        opened.commit()


def replace(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def cut(size: int) -> Callable[[Path], object]:
    return lambda path: os.truncate(path, size)


def other_kind(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def replaced(path: Path) -> None:
        path.unlink()
        make(path)

    return replaced


def revision(name: str) -> Callable[[Path], object]:
    return lambda path: change(path, "UPDATE alembic_version SET version_num = ?", name)


def other_program(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE notes (text TEXT)")


def unfinished(path: Path) -> None:
    revision("451aebb31d03")(path)
    change(path, "DELETE FROM experiments")


WRONG = {
    "a folder": (other_kind(Path.mkdir), "is no file"),
    "a pipe": (other_kind(os.mkfifo), "is no file"),
    "nothing": (replace(b""), "is empty"),
    "a text": (replace(b"hello\n"), "is damaged (file is not a database)"),
    "noise": (replace(bytes(range(256)) * 999), "is damaged (file is not a database)"),
    "its first bytes": (cut(50), "is damaged (database disk image is malformed)"),
    "its first pages": (cut(100_000), "is damaged (database disk image is malformed)"),
    "all but a page": (lambda p: os.truncate(p, p.stat().st_size - 4096), "is damaged (database"),
    "another program's": (other_program, "has no tables of MLflow's"),
    "a newer MLflow's": (revision("f" * 12), "is of a newer MLflow than 3"),
    "an older MLflow's": (revision("451aebb31d03"), "run mlflow db upgrade 'sqlite:///"),
    "one never finished": (unfinished, "was never finished, and nothing is in it: remove it"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_one_line_with_the_path(kind: str, path: Path) -> None:
    spoil, expected = WRONG[kind]
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    started = time.monotonic()
    for use in (lambda: existing_client(path.parent), lambda: Tracker(path.parent, "x")):
        with pytest.raises(UserError) as told:
            use()
        assert not isinstance(told.value, ServerUnavailableError)
        assert str(told.value).startswith(f"MLflow's database {path} ")
        assert expected in str(told.value)
        assert "\n" not in str(told.value)
    assert time.monotonic() - started < 60
    assert (path.read_bytes() if path.is_file() else None) == before


def test_other_stores_and_new_databases_are_not_looked_at(tmp_path: Path) -> None:
    for uri in ("postgresql://host/db", "sqlite://", database_uri(tmp_path)):
        require_database(uri, writes=True)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def locked(path: Path, how: str) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        yield


def test_a_lock_of_others_is_told_and_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = database_uri(path.parent)
    with locked(path, "IMMEDIATE"):
        require_database(uri)  # a writer leaves readers alone
    monkeypatch.setattr(databases, "_LOCK_TIMEOUT_S", 0.1)
    with (
        locked(path, "EXCLUSIVE"),
        pytest.raises(ServerUnavailableError, match=f"^MLflow's database {path} is locked by an"),
    ):
        require_database(uri)
    monkeypatch.setattr(databases, "_LOCK_TIMEOUT_S", 60)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(path, "EXCLUSIVE"):
            taken.set()
            done.wait(0.5)

    other = threading.Thread(target=hold)
    other.start()
    assert taken.wait(60)
    require_database(uri)
    other.join()


@contextmanager
def nobody() -> Iterator[None]:
    """Take the rights of a user who owns nothing inside the block."""
    if os.geteuid():
        pytest.skip("only root becomes another user")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_only_be_read_is_read_but_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with TemporaryDirectory(prefix="bngan-", dir="/tmp") as folder:  # pytest's own are private
        path = Path(folder, DATABASE)
        make_database(path)
        path.parent.chmod(0o755)
        uri = database_uri(path.parent)
        with nobody():
            require_database(uri)
            with pytest.raises(
                UserError, match=f"^MLflow's database {path} is read-only: you need"
            ):
                require_database(uri, writes=True)
        path.chmod(0o600)
        with nobody(), pytest.raises(UserError, match=f"{path} cannot be used: unable to open"):
            require_database(uri)
        path.parent.chmod(0o700)
        with (
            nobody(),
            pytest.raises(UserError, match=f"{path} cannot be opened: Permission denied"),
        ):
            require_database(uri)


def test_a_path_that_sqlite_does_not_take_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    longest = tmp_path
    while (left := databases._LONGEST_PATH - len(f"{longest}/{DATABASE}")) > 1:
        longest /= "d" * min(left - 1, 100 if left > 110 else 60)
    Tracker(longest, "x")
    existing_client(longest)
    for deep, size in ((longest / "dd", "483"), (tmp_path.joinpath(*["d" * 100] * 20), r"2,\d+")):
        for use in (lambda deep=deep: Tracker(deep, "x"), lambda deep=deep: existing_client(deep)):
            with pytest.raises(
                UserError, match=f"has a path of {size} bytes, and 480 are the most"
            ):
                use()
        assert not deep.exists()


def test_a_write_ahead_log_and_half_written_pages_are_no_damage(path: Path) -> None:
    uri = database_uri(path.parent)
    change(path, "CREATE TABLE big (x TEXT)")
    change(path, "INSERT INTO big VALUES (?)", "x" * 200_000)
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN');"
        "c.execute(\"UPDATE big SET x = replace(x, 'x', 'y')\"); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert path.with_name(f"{DATABASE}-journal").stat().st_size
    require_database(uri)
    with closing(sqlite3.connect(path)) as opened:
        assert opened.execute("SELECT substr(x, 1, 1) FROM big").fetchall() == [("x",)]
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("DELETE FROM big")
        opened.commit()
        require_database(uri, writes=True)


def test_a_database_whose_process_is_killed_while_it_is_made_is_made_again(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from pipeline.tracking.database import make_database as m;"
        "m(pathlib.Path(sys.argv[1]))"
    )
    path = tmp_path / DATABASE
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    until(lambda: any(file.stat().st_size > 200_000 for file in tmp_path.glob(f".*/{DATABASE}")))
    process.kill()
    process.wait()
    assert not path.exists()
    Tracker(tmp_path, "x")
    assert [each.name for each in tmp_path.iterdir() if each.name != "locks"] == [DATABASE]


def test_a_new_database_leaves_the_drafts_of_others(tmp_path: Path) -> None:
    """Its folder may be a home folder, where other programs have theirs."""
    (theirs := tmp_path / ".other.tmp-1" / "work").mkdir(parents=True)
    killed = tmp_path / ".bngan.tmp-1"
    killed.mkdir()
    make_database(tmp_path / DATABASE)
    assert theirs.is_dir()
    assert not killed.exists()


def test_a_umask_that_closes_a_database_is_told_with_its_path(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    told = (
        f"MLflow's database {tmp_path / DATABASE} cannot be made: {tmp_path} is shared by a group"
    )
    with umask(0o022), pytest.raises(UserError, match=f"^{told}"):
        make_database(tmp_path / DATABASE)


def test_the_look_takes_milliseconds(path: Path) -> None:
    uri = database_uri(path.parent)
    require_database(uri)
    seconds = []
    for _ in range(20):
        started = time.monotonic()
        require_database(uri, writes=True)
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 0.05
