"""Folders with checksums: what is written whole, and what harm is noticed."""

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bngan.serialization.manifest import (
    atomic_folder,
    damage,
    outputs_digest,
    read_manifest,
    scratch_folder,
    sweep_drafts,
    write_manifest,
)
from tests.users import umask


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.npy").write_bytes(b"data")
    (tmp_path / "sub" / "b.json").write_text("{}")
    write_manifest(tmp_path, {"n": 1})
    return tmp_path


def test_untouched_outputs_verify(folder) -> None:
    assert damage(folder) is None
    assert read_manifest(folder)["summary"] == {"n": 1}


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda f: (f / "a.npy").write_bytes(b"dat!"), "output altered"),
        (lambda f: (f / "a.npy").write_bytes(b"longer data"), "output altered"),
        (lambda f: (f / "sub" / "b.json").unlink(), "output missing"),
        (lambda f: (f / "manifest.json").unlink(), "no outputs"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest altered"),
    ],
)
def test_harm_is_noticed_and_named(folder, harm, reason) -> None:
    harm(folder)
    assert str(damage(folder)).startswith(reason)


def test_a_killed_process_leaves_nothing_behind_for_long(tmp_path) -> None:
    for name in ("abandoned", "living"):
        (tmp_path / f".x.tmp-{name}").mkdir()
    lock = os.open(tmp_path / ".x.tmp-living", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with atomic_folder(tmp_path / "y", {"n": 1}) as draft:
        (draft / "a").write_text("a")
    os.close(lock)
    assert {path.name for path in tmp_path.iterdir()} == {"y", ".x.tmp-living"}
    assert damage(tmp_path / "y") is None
    with pytest.raises(KeyError), atomic_folder(tmp_path / "y", {"n": 2}):
        raise KeyError
    assert read_manifest(tmp_path / "y")["summary"] == {"n": 1}
    with atomic_folder(tmp_path / "y", {"n": 3}):
        pass
    assert read_manifest(tmp_path / "y") == {"files": {}, "summary": {"n": 3}}


def make_and_sweep(parent: Path, seconds: float) -> int:
    made, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with scratch_folder(parent, "x") as draft:
            (draft / "file").touch()
        made += 1
    return made


def test_neighbours_do_not_sweep_what_is_only_just_made(tmp_path) -> None:
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(make_and_sweep, [tmp_path] * 3, [2.0] * 3))
    assert min(made) > 10
    assert list(tmp_path.iterdir()) == []


def test_a_kill_in_the_middle_of_a_replacement_loses_nothing(tmp_path) -> None:
    with atomic_folder(tmp_path / "y", {"n": 1}):
        pass
    script = (
        "import os, pathlib; from bngan.serialization.manifest import atomic_folder\n"
        "rename, Path = pathlib.Path.rename, pathlib.Path\n"
        "Path.rename = lambda a, b: rename(a, b) if b.name != 'y' else os._exit(9)\n"
        f"with atomic_folder(Path({str(tmp_path / 'y')!r}), {{'n': 2}}): pass"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    assert not (tmp_path / "y").exists()
    sweep_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["y"]
    assert read_manifest(tmp_path / "y")["summary"] == {"n": 2}
    assert damage(tmp_path / "y") is None


def test_a_digest_covers_the_files_that_match(folder) -> None:
    arrays, everything = outputs_digest(folder, ("*.npy",)), outputs_digest(folder, ("*",))
    assert arrays != everything
    (folder / "sub" / "b.json").write_text("[]")
    write_manifest(folder, {"n": 2})
    assert outputs_digest(folder, ("*.npy",)) == arrays
    assert outputs_digest(folder, ("*",)) != everything


@pytest.mark.parametrize(("mask", "file", "folder"), [(0o002, 0o664, 0o775), (0o077, 0o600, 0o700)])
def test_what_libraries_close_is_as_open_as_its_folder(
    tmp_path: Path, mask: int, file: int, folder: int
) -> None:
    with umask(mask), atomic_folder(tmp_path / "x", {}) as draft:
        save_file({"weight": torch.zeros(1)}, draft / "weights.safetensors")
        inner = Path(tempfile.mkdtemp(dir=draft))
        handle, _ = tempfile.mkstemp(dir=inner)
        os.close(handle)
        (draft / "link").symlink_to(tmp_path)
        (draft / "program").touch(0o700)
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (tmp_path / "x").rglob("*")}
    assert modes.pop(tmp_path / "x" / "link") == 0o777
    assert modes.pop(tmp_path / "x" / "program") == 0o100 | file
    assert {mode for path, mode in modes.items() if path.is_file()} == {file}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {folder}
