"""Let the database of a copied or moved workspace name the files beside it, not the original's.

MLflow's database has absolute addresses. A table of ours records the workspace in which they are right.
"""

import json
import os
import shutil
import sqlite3
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

from bngan.serialization.manifest import scratch_folder
from bngan.serialization.problem import visible
from pipeline.core.errors import RetryableError
from pipeline.core.lock import OWNER, WORKSPACE_LOCK, exclusive_lock, shared_lock
from pipeline.core.uris import local_path, redact
from pipeline.tracking.database import can_write, database_path, is_there, opened
from pipeline.tracking.life import BEAT, PROCESS, lives

BACKUP = "mlflow.db.before-move"
"""Name of the copy of a database from before its last change of place."""
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("experiment_tags", "value"),
    ("logged_model_params", "param_value"),
    ("logged_model_tags", "tag_value"),
    ("logged_models", "artifact_location"),
    ("model_version_tags", "value"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("params", "value"),
    ("registered_model_tags", "value"),
    ("runs", "artifact_uri"),
    ("tags", "value"),
    ("trace_tags", "value"),
    ("workspaces", "default_artifact_root"),
    ("workspaces", "trace_archival_location"),
)
"""Tables and columns of MLflow's whose values may be addresses of files."""
_PARENTS = ("experiments", "workspaces")
"""Tables of which the addresses say where new files go."""
_ARTIFACTS = "artifacts"
_TIMEOUT_S = 5.0
"""Seconds to wait for commands that use the workspace."""
_in_vain = set[Path]()
"""Workspaces for which this process has waited in vain: its further looks to read wait no more."""


def settle(workspace: Path, uri: str, writes: bool) -> None:
    """Rewrite the addresses in a workspace's database once, if it was made at another place.

    Only addresses below the other place change. Nothing happens to a store outside the workspace, to a
    database that may not be written to, and if both paths lead to the same database. While a command
    works in the workspace, commands that only read go on with the addresses as they are.

    Args:
        workspace: folder of the workspace.
        uri: address of MLflow's store.
        writes: whether the command writes to the store.

    Raises:
        RetryableError: if a command works in the workspace, and this one ``writes``.
    """
    database = _own_database(workspace, uri)
    if database is None or not can_write(database):
        return
    waits = writes or workspace not in _in_vain
    end = time.monotonic() + (_TIMEOUT_S if waits else 0.0)
    while old := _left_place(database, workspace):
        with ExitStack() as stack:
            try:
                _keep_out_others(workspace, database, stack)
            except RetryableError as error:
                if time.monotonic() < end:
                    time.sleep(0.1)
                    continue
                if not writes:
                    _in_vain.add(workspace)
                    return
                raise RetryableError(
                    f"{workspace} was copied or moved from {old}, and a command works in it: try again "
                    "when that has ended"
                ) from error
            # Another process may have been first.
            if _left_place(database, workspace) == old:
                _back_up(database)
                _rewrite(database, old, workspace)
                _tell(workspace, old)


def record_place(workspace: Path, uri: str) -> None:
    """Record where the workspace of a database is, unless that is known."""
    if (database := _own_database(workspace, uri)) is None:
        return
    with opened(database) as connection:
        if _recorded(connection) is None:
            connection.execute("BEGIN IMMEDIATE")
            _record(connection, workspace)
            connection.execute("COMMIT")


def _own_database(workspace: Path, uri: str) -> Path | None:
    """Return the database in a workspace; None if MLflow's store is elsewhere, or not there yet."""
    database = database_path(uri)
    if database is None or not is_there(database):
        return None
    return database if _same(database.parent, workspace) else None


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or os.path.samefile(one, other)
    except (OSError, ValueError):  # the latter for a path with a zero byte
        return False


def _left_place(database: Path, workspace: Path) -> Path | None:
    """Return the place for which a database has its addresses; None if that is here, or not known."""
    with opened(database) as connection:
        place = _recorded(connection) or _deduced(connection, workspace)
    here = place is None or place == workspace or _same(place / database.name, database)
    return None if here else place


def _recorded(connection: sqlite3.Connection) -> Path | None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'bngan_place'").fetchone():
        return None
    found = connection.execute("SELECT uri FROM bngan_place").fetchone()
    return _absolute_path(found[0]) if found else None


def _absolute_path(address: str) -> Path | None:
    """Return the absolute path that an address means; None if it means none."""
    try:
        path = local_path(address)
    except (TypeError, ValueError):
        return None
    return path if path and path.is_absolute() else None


def _deduced(connection: sqlite3.Connection, workspace: Path) -> Path | None:
    """Return the place of a database without a record, of an earlier version.

    That is where all experiments of ours have their files, if the files came along.
    """
    rows = connection.execute("SELECT artifact_location FROM experiments")
    folders = [_absolute_path(uri) for (uri,) in rows if uri]
    places = {path.parent for path in folders if path and path.name == _ARTIFACTS}
    (any_run,) = connection.execute("SELECT EXISTS (SELECT 1 FROM runs)").fetchone()
    if len(places) != 1 or (any_run and not (workspace / _ARTIFACTS).is_dir()):
        return None
    return places.pop()


def _keep_out_others(workspace: Path, database: Path, stack: ExitStack) -> None:
    """Lock a workspace for the life of ``stack``. Raises ``RetryableError`` if a command is there."""
    whole = workspace / WORKSPACE_LOCK
    stack.enter_context(exclusive_lock(whole, f"workspace {workspace}"))
    for parent in ("locks", "training"):
        for owner in workspace.glob(f"{parent}/*/{OWNER}"):
            if owner.parent != whole:
                with shared_lock(owner.parent, owner.parent.name):
                    pass  # nobody holds it, and who comes now waits for the workspace
    if _any_run_lives(database):  # on a machine with locks of its own
        raise RetryableError(f"a run goes on in {workspace}")


def _any_run_lives(database: Path) -> bool:
    """Return whether a database has a run of a command that says RUNNING and gives signs of life.

    One whose original runs has it for a minute: such a copy may be the same folder, at another path.
    """
    with opened(database) as connection:
        rows = connection.execute(
            "SELECT ifnull(start_time, 0), json_group_object(key, ifnull(value, ''))"
            " FROM runs JOIN tags USING (run_uuid)"
            " WHERE status = 'RUNNING' AND key IN (?, ?) GROUP BY run_uuid",
            (BEAT, PROCESS),
        )
        found = [(started / 1000, json.loads(tags)) for started, tags in rows]
    return any(lives(tags, started) for started, tags in found)


def _back_up(database: Path) -> None:
    with scratch_folder(database.parent, "mlflow") as folder:
        copy = folder / BACKUP
        with opened(database) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        shutil.copymode(database, copy)
        copy.replace(database.with_name(BACKUP))


def _rewrite(database: Path, old: Path, new: Path) -> None:
    """Replace the beginning of every address below ``old``, in one transaction."""
    with opened(database) as connection:
        connection.create_function("moved", 3, _moved)
        connection.create_function("moved_parent", 3, _new_address)
        connection.execute("BEGIN IMMEDIATE")
        for table, column in LOCATIONS:
            moved = "moved_parent" if table in _PARENTS else "moved"
            for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                connection.execute(
                    f"UPDATE {table} SET {column} = {moved}({column}, ?, ?)"  # noqa: S608 (ours)
                    f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (before, after, before, len(before) + 1, f"{before}/"),
                )
        _record(connection, new)
        connection.execute("COMMIT")


def _new_address(address: str, before: str, after: str) -> str:
    return after + address[len(before) :]


def _moved(address: str, before: str, after: str) -> str:
    """Return an address at the new place, or the old one if only there is a file.

    Earlier versions wrote into the original what they did in a copy.
    """
    moved = _new_address(address, before, after)
    here, there = local_path(moved), local_path(address)
    return address if here and there and there.exists() and not here.exists() else moved


def _record(connection: sqlite3.Connection, workspace: Path) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS bngan_place (uri TEXT NOT NULL)")
    connection.execute("DELETE FROM bngan_place")
    connection.execute("INSERT INTO bngan_place VALUES (?)", (workspace.as_uri(),))


def _tell(workspace: Path, old: Path) -> None:
    line = f"{workspace} was copied or moved from {old}: its database now names its own files"
    print(visible(redact(f"{line} ({BACKUP} is as before)")), file=sys.stderr, flush=True)
