"""The SQLite database of a workspace: its URI, a look at it before MLflow's, and a new one."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote

from mlflow import MlflowClient, __version__

from bngan.serialization.manifest import scratch_folder
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.core.lock import make_private_dir
from pipeline.core.umask import umask_problem
from pipeline.tracking.mlflow_internals import schema_revisions

_DRIVER = "sqlite+pysqlite"
"""Full name of ``sqlite`` in URIs: for URIs that begin with the short one, MLflow creates the folder
that they name, quotes and all."""
_LOCK_TIMEOUT_S = 5.0
"""Seconds that a database may be locked by others."""
_DRAFT = "bngan"
"""Name of drafts. The folder of a database may be anyone's: only drafts of this name are removed."""
_LONGEST_PATH = 480
"""Bytes of a database's path. SQLite takes 504, and the path of a draft is longer."""
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
"""Kinds of SQLite's errors that may be over soon."""


def database_uri(workspace: Path) -> str:
    """Return the URI of the database in a workspace.

    Raises:
        UserError: if the database is elsewhere, or the path cannot be a URI.
    """
    path = workspace / "mlflow.db"
    uri = uri_of_path(path)
    if database_path(uri) != path:
        raise UserError(
            f"workspace: {workspace} has a ? or % in it, which SQLAlchemy before 2.1 does not read: "
            "install a newer one, or take another folder"
        )
    # Earlier versions did not quote the path.
    before = Path(unquote(str(path).partition("?")[0]))
    moved = before != path and not os.path.exists(path)
    if moved and before.is_file() and (workspace / "stages").is_dir():
        raise UserError(
            f"workspace: an earlier version wrote the database of {workspace} to {before}: "
            f"copy it to {path}"
        )
    return uri


def uri_of_path(path: Path) -> str:
    """Return the URI of a SQLite file; with ``?`` or ``%`` it is quoted, as SQLAlchemy 2.1 reads it."""
    # The import takes long, and is not needed with a server.
    from sqlalchemy.engine import URL

    uri = f"sqlite:///{path}"
    if database_path(uri) != path:
        uri = URL.create(_DRIVER, database=str(path)).render_as_string(hide_password=False)
    return uri


def open_to_group(database: Path) -> None:
    """Let the group of a folder write to a database in it, and to its journals, if it may write there.

    SQLite gives a new database the mode 0644, whatever the umask says.
    """
    if database.parent.stat().st_mode & stat.S_IWGRP and database.is_file():
        facts = database.stat()
        if facts.st_uid == os.geteuid():
            database.chmod(stat.S_IMODE(facts.st_mode) | stat.S_IRGRP | stat.S_IWGRP)


def database_path(uri: str) -> Path | None:
    """Return the file of a SQLite URI; None for another store, and for a database in memory."""
    if not uri.startswith(("sqlite:///", f"{_DRIVER}:///")):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(uri).database
    return Path(database) if database else None


def require_database(uri: str, writes: bool = False) -> None:
    """Check a SQLite database before MLflow opens it; do nothing for other stores, or if it is new.

    MLflow itself tries for minutes what cannot be opened, makes its tables in what is empty or somebody
    else's, and alters what an older MLflow wrote.

    Args:
        uri: address of MLflow's store.
        writes: whether the command writes to the store.

    Raises:
        ServerUnavailableError: if another process locks the database for longer than five seconds.
        UserError: if the database cannot be used.
    """
    path = database_path(uri)
    if path is None:
        return
    if (size := len(os.fsencode(path.absolute()))) > _LONGEST_PATH:
        raise UserError(
            f"MLflow's database {path} has a path of {size:,} bytes, and {_LONGEST_PATH} are the most "
            "that SQLite opens: take a folder with a shorter path"
        )
    if not is_there(path):
        return
    with opened(path) as connection:
        problem = _schema_problem(connection, uri)
    if problem:
        raise UserError(f"MLflow's database {path} {problem}")
    if writes and not can_write(path):
        raise UserError(
            f"MLflow's database {path} is read-only: you need the right to write to it and its folder"
        )


def is_there(path: Path) -> bool:
    """Return whether a database is there. Raises ``UserError`` if something else is."""
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(f"MLflow's database {path} cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise UserError(f"MLflow's database {path} is no file: move away what is there")
    if not facts.st_size:
        raise UserError(
            f"MLflow's database {path} is empty: restore it from a backup, or remove it to begin anew"
        )
    return True


def can_write(path: Path) -> bool:
    """Return whether this user may write to a database, which takes files beside it."""
    return all(os.access(each, os.W_OK, effective_ids=True) for each in (path, path.parent))


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that exists, without transactions of Python's own.

    Whoever may write undoes what a killed process has left half written, as SQLite does.

    Raises:
        ServerUnavailableError: if the database cannot be used now.
        UserError: if it cannot be used for another reason.
    """
    mode = "rw" if can_write(path) else "ro"
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=_LOCK_TIMEOUT_S, isolation_level=None)
        with closing(connection):
            yield connection
    except sqlite3.Error as error:
        raise _refusal(path, error) from error


def _schema_problem(connection: sqlite3.Connection, uri: str) -> str | None:
    """Return why the tables of a database are not those of this MLflow, or None if they are."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not {"alembic_version", "experiments"} <= tables:
        return "has no tables of MLflow's: it is another program's, or was never finished"
    found = [
        version for (version,) in connection.execute("SELECT version_num FROM alembic_version")
    ]
    head, known = schema_revisions()
    if found == [head]:
        return None
    if not set(found) <= known:
        return f"is of a newer MLflow than {__version__}: install the newer one"
    if connection.execute("SELECT NOT EXISTS (SELECT 1 FROM experiments)").fetchone()[0]:
        return "was never finished, and nothing is in it: remove it"
    return (
        f"is of an older MLflow than {__version__}: back it up, then run mlflow db upgrade '{uri}'"
    )


def _refusal(path: Path, error: sqlite3.Error) -> UserError:
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ServerUnavailableError(
            f"MLflow's database {path} is locked by another process: try again when that has ended"
        )
    if kind in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return UserError(f"MLflow's database {path} is damaged ({error}): restore it from a backup")
    refused = ServerUnavailableError if kind in _PASSING else UserError
    return refused(f"MLflow's database {path} cannot be used: {error}")


def make_database(path: Path) -> None:
    """Make a database of MLflow's, which appears when it is whole.

    One whose process is killed while MLflow makes its tables can be neither used nor completed. If
    another process is first, its database stays.

    Raises:
        UserError: if its folder cannot be written to, or the umask closes it to a group.
    """
    if problem := umask_problem(path.parent):
        raise UserError(f"MLflow's database {path} cannot be made: {problem}")
    try:
        with scratch_folder(make_private_dir(path.parent), _DRAFT, own=True) as folder:
            draft = folder / path.name
            MlflowClient(uri_of_path(draft))  # makes its tables
            _move_if_absent(draft, path)
    except OSError as error:
        raise UserError(f"MLflow's database {path} cannot be made: {error.strerror}") from error


def _move_if_absent(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        draft.rename(path)
