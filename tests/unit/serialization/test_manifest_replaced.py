"""A folder that is replaced is read whole, old or new, at each point of the writer's progress."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from bngan.serialization import checkpoint
from bngan.serialization.checkpoint import CheckpointStore
from bngan.serialization.manifest import atomic_folder, damage, read_manifest, sweep_drafts

WRITES = ("mkdir", "open", "fsync", "close", "rename", "unlink", "rmdir", "scandir", "replace")
READS = ("stat", "open", "scandir", "listdir")
OLD, NEW, OLDER = 1.0, 2.0, 0.0
ORIGINAL = {name: getattr(os, name) for name in (*WRITES, *READS)}


class Points:
    """Count system calls, and do something before one of them."""

    def __init__(self, number: int, act: Callable[[], None]) -> None:
        self.number, self.act, self.passed = number, act, 0

    def at(self, module: Any, names: tuple[str, ...]) -> Any:
        return mock.patch.multiple(module, **{n: self._watched(getattr(module, n)) for n in names})

    def _watched(self, original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.passed += 1
            if self.passed - 1 == self.number:
                self.act()
            return original(*args, **kwargs)

        return call


def every_point(attempt: Callable[[int], int]) -> int:
    """Call ``attempt`` of each point, as long as it returns that it has passed more points."""
    point = 0
    while attempt(point) > point:
        point += 1
    return point


def state(value: float) -> dict[str, Any]:
    return {"weights": torch.full((5,), value), "value": value}


def begin(folder: Path) -> CheckpointStore:
    """Checkpoints at 100 and 200 images; the latter is replaced by one with another content."""
    store = CheckpointStore(folder)
    store.save(100, state(OLDER), healthy=True)
    store.save(200, state(OLD), healthy=True)
    return store


def seen(folder: Path) -> float:
    """What is read first; read again as what is worth a return, it is no older."""
    store, values = CheckpointStore(folder), list[float]()
    for healthy in (False, True):
        loaded = store.latest(healthy)
        assert loaded is not None
        assert loaded["weights"].unique().tolist() == [loaded["value"]]
        values.append(loaded["value"])
    assert store.set_aside == []
    assert values == sorted(values)
    return values[0]


def at_point(point: int, folder: Path, act: Callable[[], None]) -> int:
    """Replace the checkpoint, with ``act`` before a point; return the number of points passed."""
    points = Points(point, act)
    with points.at(os, WRITES):
        CheckpointStore(folder).save(200, state(NEW), healthy=True)
    return points.passed


def test_a_reader_beside_a_living_writer_finds_the_old_or_the_new(tmp_path: Path) -> None:
    found = list[float]()

    def attempt(point: int) -> int:
        folder = tmp_path / str(point)
        begin(folder)

        def read() -> None:
            with mock.patch.multiple(os, **ORIGINAL):
                found.append(seen(folder))

        passed = at_point(point, folder, read)
        assert seen(folder) == NEW
        assert [path.name for path in folder.glob(".*")] == []
        return passed

    assert every_point(attempt) > 30
    assert found == sorted(found)
    assert set(found) == {OLD, NEW}


def test_a_reader_after_a_dead_writer_finds_the_old_or_the_new(tmp_path: Path) -> None:
    found = list[float]()

    def attempt(point: int) -> int:
        folder = tmp_path / str(point)
        begin(folder)
        if child := os.fork():
            died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        else:
            try:
                at_point(point, folder, lambda: os._exit(9))
            finally:
                os._exit(0)
        found.append(seen(folder))
        sweep_drafts(folder)
        assert seen(folder) == found[-1]
        assert [path.name for path in folder.glob(".*")] == []
        return point + died

    assert every_point(attempt) > 30
    assert found == sorted(found)
    assert set(found) == {OLD, NEW}


def test_a_writer_that_is_interrupted_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    found = list[float]()

    def interrupt() -> None:
        raise KeyboardInterrupt

    def attempt(point: int) -> int:
        folder = tmp_path / str(point)
        begin(folder)
        try:
            over = at_point(point, folder, interrupt) <= point
        except KeyboardInterrupt:
            over = False
        sweep_drafts(folder)
        found.append(seen(folder))
        return point + (not over)

    assert every_point(attempt) > 30
    assert found == sorted(found)
    assert set(found) == {OLD, NEW}


def test_what_is_replaced_at_any_point_of_reading_is_read_whole(tmp_path: Path) -> None:
    found = list[float]()

    def attempt(point: int) -> int:
        folder = tmp_path / str(point)
        begin(folder)

        def write() -> None:
            points.number = -1
            CheckpointStore(folder).save(200, state(NEW), healthy=True)

        points = Points(point, write)
        with points.at(os, READS), points.at(io, ("open",)), points.at(checkpoint, ("load_file",)):
            found.append(seen(folder))
        return points.passed

    assert every_point(attempt) > 30
    assert set(found) == {OLD, NEW}


def test_a_reader_whose_checkpoint_is_too_old_by_now_finds_a_newer_one(tmp_path: Path) -> None:
    def attempt(point: int) -> int:
        folder = tmp_path / str(point)
        begin(folder)

        def write() -> None:
            points.number = -1
            for images in (300, 400):
                CheckpointStore(folder).save(images, state(images), healthy=True)

        points = Points(point, write)
        with points.at(os, READS), points.at(io, ("open",)), points.at(checkpoint, ("load_file",)):
            assert seen(folder) in (OLD, 300.0, 400.0)
        left = [path.name for path in folder.iterdir()]
        assert points.number >= 0 or sorted(left) == [f"images-{n:012d}" for n in (300, 400)]
        return points.passed

    assert every_point(attempt) > 30


def test_a_folder_is_read_whole_at_each_point(tmp_path: Path) -> None:
    found = list[int]()

    def attempt(point: int) -> int:
        folder = tmp_path / str(point) / "x[1]"
        with atomic_folder(folder, {"n": 1}) as draft:
            (draft / "a").write_text("old")

        def read() -> None:
            with mock.patch.multiple(os, **ORIGINAL):
                assert damage(folder) is None
                found.append(read_manifest(folder)["summary"]["n"])

        points = Points(point, read)
        with points.at(os, WRITES), atomic_folder(folder, {"n": 2}) as draft:
            (draft / "a").write_text("new")
        assert read_manifest(folder)["summary"] == {"n": 2}
        return points.passed

    assert every_point(attempt) > 20
    assert found == sorted(found)
    assert set(found) == {1, 2}
