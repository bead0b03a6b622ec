"""Folders that are shared for a while."""

import os
from pathlib import Path

from pipeline.storage import sharing
from tests.unit.storage.conftest import Machine
from tests.unit.storage.test_workspace import NAME, write


def test_what_is_lent_is_taken_back(machine: Machine) -> None:
    storage = machine("a")
    folder = storage.local / "downloads" / "x"
    folder.mkdir(parents=True)
    (folder / "file").write_text("model")
    with sharing.published(storage, folder):
        assert (machine("b").path("downloads/x") / "file").read_text() == "model"
        machine("a")
    assert machine("c").damage("downloads/x")


def test_what_a_killed_process_has_lent_goes_a_day_later_and_so_do_copies(machine: Machine) -> None:
    """Nobody is left to take it back, nor to tell the machines that have copied it."""
    lives = [f"downloads/.model.tmp-{number}" for number in range(2)]
    for name in lives:
        write(machine("a"), "model", f"{name}/generator")
        sharing.fetch(machine("b"), f"{name}/generator")
    bucket = Path(machine("a").workspace.removeprefix("file://"))
    for top in (bucket / lives[0], machine("b").local / lives[0]):
        for path in (top, *top.rglob("*")):
            os.utime(path, (1, 1))
    write(machine("a"), "other")
    with sharing.published(machine("a"), machine("a").local / NAME):
        assert [(bucket / name / "generator").exists() for name in lives] == [False, True]
    sharing.fetch(machine("b"), f"{lives[1]}/generator")
    assert [(machine("b").local / name).exists() for name in lives] == [False, True]
