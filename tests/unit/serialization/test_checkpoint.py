"""The checkpoint store: what is written is whole, what is read is verified, damage is named."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bngan.serialization.checkpoint import (
    CheckpointError,
    CheckpointStore,
    load_checkpoint,
    save_checkpoint,
)


def state(value: float) -> dict[str, Any]:
    return {"weights": torch.full((5,), value), "numbers": {1: [1, None, 2.5, "s"]}}


def test_a_state_survives_with_its_types(tmp_path) -> None:
    save_checkpoint(tmp_path / "x", state(1.0))
    loaded = load_checkpoint(tmp_path / "x")
    assert loaded["numbers"] == {1: [1, None, 2.5, "s"]}
    assert torch.equal(loaded["weights"], torch.ones(5))
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_that_is_not_finite_is_saved(value, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="x is not saved: /weights is not finite"):
        save_checkpoint(tmp_path / "x", state(value))
    assert list(tmp_path.iterdir()) == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def spoil(folder: Path) -> None:
    """A state that is not finite, with a manifest that says all is well."""
    shutil.rmtree(folder)
    with mock.patch("bngan.serialization.checkpoint.not_finite", return_value=None):
        save_checkpoint(folder, state(float("nan")), healthy=True)


HARM = {
    "truncated": lambda f: os.truncate(f / "state.safetensors", 20),
    "bit flipped": lambda f: flip(f / "state.safetensors"),
    "values altered": lambda f: flip(f / "state.json"),
    "file missing": lambda f: (f / "state.json").unlink(),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "manifest null": lambda f: (f / "manifest.json").write_text("null"),
    "manifest altered": lambda f: (f / "manifest.json").write_text(
        (f / "manifest.json").read_text().replace('"size"', '"sizf"')
    ),
    "not finite": spoil,
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(harm, tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    for images in (1, 2):
        store.save(images, state(images), healthy=True)
    harm(store.path(2))
    loaded = store.latest()
    assert loaded is not None
    assert loaded["weights"][0] == 1
    (line,) = store.set_aside
    assert line.startswith("images-000000000002 is damaged and set aside as damaged-0-images-")
    assert store.saved() == [1]
    harm(store.path(1))
    for again in (store, CheckpointStore(tmp_path)):  # never a silent restart
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be used \(damaged-0-"):
            again.latest()


def test_the_last_ones_and_the_last_healthy_one_are_kept(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    assert store.latest() is None
    for images in range(1, 7):
        store.save(images, state(images), healthy=images <= 3)
    assert store.saved() == [3, 5, 6]
    healthy, newest = store.latest(healthy=True), store.latest()
    assert healthy is not None
    assert newest is not None
    assert (healthy["weights"][0], newest["weights"][0]) == (3, 6)


class Crash(BaseException):
    """The process is gone: nothing after it runs, not even ``finally``."""


CALLS = ("mkdir", "open", "fsync", "close", "rename", "unlink", "rmdir", "scandir")


@contextmanager
def dying_after(calls: int) -> Iterator[None]:
    """Inside, system calls work ``calls`` times in all; from then on they do nothing but raise."""
    left = [calls]

    def limited(original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if left[0] == 0:
                raise Crash
            left[0] -= 1
            return original(*args, **kwargs)

        return call

    with mock.patch.multiple(os, **{name: limited(getattr(os, name)) for name in CALLS}):
        yield


class Store(RuleBasedStateMachine):
    """Save, crash at any system call, corrupt, load: the newest complete checkpoint comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.complete: list[int] = []
        self.damaged = False
        self.images = 0

    @property
    def store(self) -> CheckpointStore:
        return CheckpointStore(self.folder)

    @rule(healthy=st.booleans())
    def save(self, healthy: bool) -> None:
        self.images += 1
        newest = [*self.store.saved(), self.images][-2:]
        self.store.save(self.images, state(self.images), healthy)
        assert set(newest) <= set(self.store.saved())
        self.complete = [images for images in self.complete if images in self.store.saved()]
        self.complete.append(self.images)

    @rule(calls=st.integers(0, 60))
    def crash_while_saving(self, calls: int) -> None:
        self.images += 1
        try:
            with dying_after(calls):
                self.store.save(self.images, state(self.images), healthy=True)
        except Crash:
            pass
        # Whether it was complete is for the disk to say: its rename is the commit.
        if self.store.path(self.images).exists():
            self.complete = [images for images in self.complete if images in self.store.saved()]
            self.complete.append(self.images)

    @rule(harm=st.sampled_from([HARM["truncated"], HARM["bit flipped"], HARM["no manifest"]]))
    def corrupt_the_newest(self, harm: Any) -> None:
        if saved := self.store.saved():
            harm(self.store.path(saved[-1]))
            self.complete = [images for images in self.complete if images != saved[-1]]
            self.damaged = True

    @invariant()
    def latest_is_the_newest_complete_one(self) -> None:
        store = self.store
        usable = [images for images in self.complete if images in store.saved()]
        if usable:
            loaded = store.latest()
            assert loaded is not None
            assert loaded["weights"][0] == usable[-1] == max(self.complete)
            assert len(usable) <= 4
        elif self.damaged:
            with pytest.raises(CheckpointError):
                store.latest()
        else:
            assert store.latest() is None

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
