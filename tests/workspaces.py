"""Copies of workspaces, and databases from text."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.tracking.database import database_uri
from pipeline.tracking.relocation import settle
from pipeline.tracking.tracker import Tracker
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


def filled(workspace: Path) -> Path:
    """Make a workspace with a run, its file, a logged model and a version, and addresses elsewhere."""
    tracker = Tracker(workspace, "x")
    client, place = tracker.client, str(workspace)
    run = tracker.start(
        "a", {"inside": f"{place}/b", "beside": f"{place}2/b", "text": f"see {place}"}
    )
    tracker.params(run, {"workspace": place, "adapt.base": f"{place}/stages/train/1"})
    tracker.artifact(run, "config.yaml", b"a: 1\n")
    model = client.create_logged_model(tracker.experiment_id, "generator", source_run_id=run)
    client.create_registered_model("gan")
    client.create_model_version(
        "gan", model.artifact_location, run_id=run, tags={"bngan.base": f"{place}/stages/train/1"}
    )
    client.create_model_version(
        "gan", f"file://{workspace.parent.as_posix()}/elsewhere", run_id=run
    )
    return workspace


def dump(workspace: Path) -> str:
    with closing(sqlite3.connect(workspace / DATABASE)) as opened:
        return "\n".join(opened.iterdump())


def forget_place(workspace: Path) -> None:
    """Make the database one of an earlier version, which recorded no place."""
    with closing(sqlite3.connect(workspace / DATABASE)) as opened:
        opened.execute("DROP TABLE bngan_place")
        opened.commit()


def same_but_for_the_place(copy: Path, original: Path) -> bool:
    """Compare two databases in which nothing else is called like the original."""
    uri, path = original.as_uri(), str(original)
    expected = dump(original).replace(f"'{uri}", f"'{copy.as_uri()}")
    for ending in ("/", "'"):
        expected = expected.replace(f"'{path}{ending}", f"'{copy}{ending}")
    return dump(copy) == expected


def copied(original: Path, name: str) -> Path:
    copy = original.parent / name
    shutil.copytree(original, copy)
    return copy
