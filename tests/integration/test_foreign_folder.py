"""A command in a folder of somebody else's: what lies there, and how it is called, changes nothing."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import ROOT
from tests.integration.head import Head

SETTINGS = """
name: foreign
workspace: "{workspace}"
data: {{path: "embedded:digits", select: 0.2, test: 0.2}}
model: {{network: mlp}}
train: {{images: 400, batch_size: 100, num_workers: 1, score_every: 400}}
evaluate: {{protocol: fid50_test}}
register: {{model: foreign, draws: 4}}
"""
HOSTILE = {
    "HOME": "/dev/null",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "RAY_TRAIN_V2_ENABLED": "0",
}


def command(
    folder: Path, *arguments: str, safe: bool = True, code: int = 0, **environment: str
) -> str:
    """Run bngan in ``folder``: with ``safe`` as the installed script does, else as a module.

    Returns what it printed, or its errors if ``code`` says that it fails.
    """
    program = [sys.executable, *(["-P"] if safe else []), "-m", "pipeline", *arguments]
    done = subprocess.run(
        program,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stderr if code else done.stdout


def plant_modules(folder: Path) -> None:
    """Modules with names of libraries; each would end the process that imports it."""
    for name in ("torch", "datasets", "random", "mlflow", "yaml", "logging"):
        (folder / f"{name}.py").write_text(f"import os; print('evil {name}'); os._exit(7)\n")
    (folder / "matplotlibrc").write_text("figure.dpi: nonsense\nsavefig.dpi: 7\n")


def copy_project(folder: Path, mark: Path) -> None:
    """Another copy of this project, which works, and makes a file where it is imported."""
    for package in ("bngan", "pipeline"):
        shutil.copytree(ROOT / package, folder / package)
        with (folder / package / "__init__.py").open("a") as file:
            file.write(f"\nopen({str(mark)!r}, 'a').close()\n")


def test_workers_train_with_the_code_of_their_driver(tmp_path: Path) -> None:
    folder, mark = tmp_path / "mine", tmp_path / "mark"
    copy_project(folder, mark)
    plant_modules(folder)
    (folder / "c.yaml").write_text(SETTINGS.format(workspace=tmp_path / "runs"))
    command(folder, "run", "c.yaml", "--to", "train", **HOSTILE)
    assert not mark.exists()
    assert list(tmp_path.glob("runs/stages/train/*/manifest.json"))


@pytest.mark.full
def test_a_cluster_that_has_another_copy_of_the_project(tmp_path: Path) -> None:
    """Its path alone changes nothing; where a node puts the copy before all else, it is refused."""
    folder, mark, switch = tmp_path / "theirs", tmp_path / "mark", tmp_path / "switch"
    copy_project(folder, mark)
    (folder / "sitecustomize.py").write_text(
        f"import os, sys\nif os.path.exists({str(switch)!r}): sys.path.insert(0, {str(folder)!r})\n"
    )
    (tmp_path / "c.yaml").write_text(SETTINGS.format(workspace=tmp_path / "runs"))
    head = Head(folder, PYTHONPATH=str(folder))
    try:
        there = {**head.environment, "RAY_ADDRESS": head.ray_address}
        command(tmp_path, "run", "c.yaml", "--to", "train", **there)
        assert not mark.exists()
        assert len(list(tmp_path.glob("runs/stages/train/*/manifest.json"))) == 1
        switch.touch()
        more = ("run", "c.yaml", "train.images=800", "--to", "train")
        told = command(tmp_path, *more, code=2, **there).replace("\n", " ")
        assert "bngan/__init__.py is not the one of this command on " in told
        assert f"imports bngan from {folder}/bngan: " in told
        assert not mark.exists()
        assert len(list(tmp_path.glob("runs/stages/train/*/manifest.json"))) == 1
        switch.unlink()  # mended, and the same command goes on
        command(tmp_path, *more, **there)
        assert len(list(tmp_path.glob("runs/stages/train/*/manifest.json"))) == 2
    finally:
        head.stop()


def test_a_folder_with_names_of_libraries(tmp_path: Path) -> None:
    plant_modules(tmp_path)
    (tmp_path / "c.yaml").write_text(SETTINGS.format(workspace=tmp_path / "runs"))
    command(tmp_path, "plan", "c.yaml", safe=False)


@pytest.mark.full
@pytest.mark.parametrize("name", ["my runs #1?%20;é", 'it\'s 50% \\"&\\" x%41'])
def test_a_workspace_of_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(SETTINGS.format(workspace=tmp_path / "x" / name))
    folder = tmp_path / "x" / name.replace('\\"', '"')
    first = command(tmp_path, "run", "c.yaml")
    assert "champion" in first
    hint = next(line for line in first.splitlines() if line.startswith("sample it"))
    words = shlex.split(hint)[2:]
    assert words[0] == "bngan"
    command(tmp_path, *words[1:])
    assert (tmp_path / "grid.png").stat().st_size > 1000
    runs = len(list((folder / "stages").glob("*/*")))
    command(tmp_path, "run", "c.yaml")
    assert len(list((folder / "stages").glob("*/*"))) == runs == 5
    assert "foreign 1" in command(tmp_path, "models", "--workspace", str(folder))
    assert "finished" in command(tmp_path, "status", "--workspace", str(folder))
    command(tmp_path, "evaluate", "models:/foreign/1", "--workspace", str(folder))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
