"""Copies of workspaces, and databases from text."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.tracking.database import database_uri
from pipeline.tracking.relocation import settle
from tests.databases import DATABASE


def copy_workspace(source: Path, target: Path) -> Path:
    """Copy a workspace, and let the copy name its own files. Returns ``target``."""
    shutil.copytree(source, target)
    settle(target, database_uri(target), writes=True)
    return target


def restore(workspace: Path, dump: str) -> None:
    """Restore a workspace's database from its SQL, wherever that was made."""
    with closing(sqlite3.connect(workspace / DATABASE)) as database:
        database.executescript(dump)
    settle(workspace, database_uri(workspace), writes=True)
