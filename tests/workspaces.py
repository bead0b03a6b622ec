"""Copies of workspaces: a database and models have their workspace's path in their addresses."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.databases import DATABASE

NAMING_IT = ("MLmodel", "config.yaml")
"""Files below ``artifacts`` that name their workspace."""


def copy_workspace(source: Path, target: Path) -> Path:
    """Copy a workspace, and let everything in the copy lead into the copy. Returns ``target``."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(f"{DATABASE}*"))
    with closing(sqlite3.connect(source / DATABASE)) as database:
        dump = "\n".join(database.iterdump())
    relocate(target, dump, str(source))
    return target


def relocate(workspace: Path, dump: str, before: str) -> None:
    """Restore a database from its SQL; what names the path ``before`` names ``workspace`` instead."""

    def named(text: str) -> str:
        return text.replace(f"file://{before}", workspace.as_uri()).replace(before, str(workspace))

    for path in (workspace / "artifacts").rglob("*"):
        if path.name in NAMING_IT:
            path.write_text(named(path.read_text()))
    with closing(sqlite3.connect(workspace / DATABASE)) as database:
        database.executescript(named(dump))
