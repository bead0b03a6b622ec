"""Upload code with a job, and check it in its workers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle

from pipeline.cluster import working_dir
from pipeline.cluster.working_dir import checked, require_unchanged_code, working_folder
from pipeline.core.errors import UserError

pytestmark = pytest.mark.usefixtures("planted_secrets")

ROOT = Path(__file__).parents[3]


def test_nothing_of_the_environment_is_uploaded_for_a_job() -> None:
    with working_folder(ROOT / "configs/digits.yaml") as folder:
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert len(files) > 50
        assert not [file for file in files if b"PLANTED" in file.read_bytes()]


@pytest.mark.parametrize("change", ["edited", "removed", "added"])
def test_code_that_changes_meanwhile_is_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("1\n")
    monkeypatch.setattr(
        working_dir, "_sources", lambda: ((p.name, p) for p in sorted(tmp_path.iterdir()))
    )
    working_dir._digests.cache_clear()
    try:
        require_unchanged_code()
        with working_folder() as folder:
            assert sorted(p.name for p in folder.iterdir()) == ["a.py", "b.py"]
        if change == "edited":
            (tmp_path / "b.py").write_text("2\n")
        elif change == "removed":
            (tmp_path / "b.py").unlink()
        else:
            (tmp_path / "c.py").touch()
        with pytest.raises(UserError, match=r"[bc]\.py has changed since this command began"):
            require_unchanged_code()
        with pytest.raises(UserError), working_folder():
            pass
    finally:
        working_dir._digests.cache_clear()


def test_a_worker_with_the_same_code_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run = checked(divmod)
    assert run(7, 2) == ("", (3, 1))
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: b"")
    assert run(9, 2) == ("", (4, 1))


CODE = """
import pickle, sys
run = pickle.load(open(sys.argv[1], "rb"))
print(*run(7, 2), sep="\\n")
assert not {"bngan", "pipeline"} & set(sys.modules)
"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bngan/training/ema.py", b"# other\n"),
        ("bngan/data/images.py", None),
        ("pipeline/data/raw/__init__.py", b""),
        ("bngan/__init__.py", b"raise ImportError\n"),
        ("pipeline.py", b""),
        ("bngan.py", b""),
    ],
)
def test_a_worker_with_other_code_says_which(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    """It imports nothing of it, not even to unpickle what it was to call."""
    packed = tmp_path / "run"
    packed.write_bytes(cloudpickle.dumps(checked(working_dir.code_digest)))
    first, second = tmp_path / "first", tmp_path / "second"
    with working_folder() as folder:
        shutil.copytree(folder, second)
        if name.startswith(("bngan/", "pipeline/")):
            shutil.copytree(folder, first)
    (changed := first / name).parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        changed.unlink()
    else:
        changed.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(packed)],
        env={**os.environ, "PYTHONPATH": f"{first}{os.pathsep}{second}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    problem, result = done.stdout.splitlines()
    package, _, inside = name.partition("/")
    if not inside:  # a module in the place of a package
        name, package = f"{package[:-3]}/__init__.py", package[:-3]
        place = first / f"{package}.py"
    else:
        place = first / package
    assert problem.startswith(f"{name} is not the one of this command on ")
    assert f" imports {package} from {place}: " in problem
    assert result == "None"
