"""How large a workspace is, and who waits for whom."""

import os
import time
from pathlib import Path

import pytest

from pipeline.core.errors import RetryableError
from pipeline.storage.upkeep import in_use, reserved, sizes
from pipeline.storage.workspace import Workspace
from tests.unit.storage.conftest import Machine
from tests.unit.storage.test_workspace import NAME, write


def test_sizes_are_those_of_the_files_by_kind(tmp_path: Path) -> None:
    names = ["stages/train/a/f", "training/x/images-1/f", "studies/t.json", "downloads/d/f"]
    names += ["mlflow.db", "mlflow.db-wal", "artifacts/m/f", "theirs/f"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 10**number)
    (tmp_path / "stages" / "link").symlink_to(tmp_path / "theirs")
    found = sizes(Workspace(str(tmp_path)))
    link = len(str(tmp_path / "theirs"))  # the text of the link, and nothing behind it
    assert found == {
        "stages": 1 + link,
        "training": 10,
        "studies": 100,
        "cache": 1000,
        "mlflow": 10_000 + 100_000 + 1_000_000,
    }
    assert set(sizes(Workspace(str(tmp_path / "none"))).values()) == {0}


def test_sizes_at_a_uri_are_listed_and_copies_are_cache(machine: Machine) -> None:
    write(machine("a"), "content")
    original = sizes(machine("b"))
    assert (original["stages"], original["cache"]) == (machine("b").measure(NAME)[0], 0)
    machine("b").path(NAME)
    assert sizes(machine("b"))["cache"] >= len("content")


def test_many_files_are_measured_quickly(tmp_path: Path) -> None:
    for folder in range(20):
        (tmp_path / "stages" / "prepare" / str(folder)).mkdir(parents=True)
        for file in range(500):
            os.close(os.open(tmp_path / f"stages/prepare/{folder}/{file}", os.O_CREAT))
    started = time.process_time()
    sizes(Workspace(str(tmp_path)))
    assert time.process_time() - started < 1  # 10,000 files; 0.05 s


def test_a_cleanup_waits_for_commands_and_these_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Workspace(str(tmp_path))
    with (
        in_use(storage),
        in_use(storage),
        pytest.raises(RetryableError, match=r"a command works in .* try again"),
    ):
        reserved(storage).__enter__()
    monkeypatch.setattr("pipeline.storage.upkeep._TIMEOUT_S", 0.0)
    with reserved(storage):
        with pytest.raises(RetryableError, match=rf"is locked by process {os.getpid()} "):
            in_use(storage).__enter__()
        with pytest.raises(RetryableError):
            reserved(storage).__enter__()
    with in_use(storage):
        pass
