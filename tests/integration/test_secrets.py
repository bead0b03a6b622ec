"""Secrets of the environment, planted; and a whole run, of whose every byte none is one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import DIGITS, bngan_process
from tests.integration.conftest import TINY
from tests.integration.servers import mlflow_server

PLANTED = {
    "AWS_ACCESS_KEY_ID": "PLANTED-1-AKIA",
    "AWS_SECRET_ACCESS_KEY": "PLANTED-2/aws+key",
    "MLFLOW_TRACKING_TOKEN": "",
    "HF_TOKEN": "hf_PLANTED-3",
    "BNGAN_WEBHOOK": "http://PLANTED-4@127.0.0.1/PLANTED-5?key=PLANTED-6",
    "SOME_API_KEY": "PLANTED-7",
    "SOME_DATABASE": "postgresql://me:PLANTED-8@127.0.0.1/x",
}
LOGIN = "PLANTED-9:PLANTED-0"


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # sockets have short names
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def holding(folder: Path) -> tuple[int, list[str]]:
    """How many files there are, and those with a secret in them."""
    count, found = 0, []
    for parent, _, names in os.walk(folder):
        for path in (Path(parent) / name for name in names):
            if path.is_file():
                count += 1
                if b"PLANTED" in path.read_bytes():
                    found.append(str(path))
    return count, found


@pytest.mark.full
def test_no_secret_leaves_the_environment(tmp_path: Path, ray_folder: Path) -> None:
    workspace, home, store = (tmp_path / name for name in ("runs", "home", "store"))
    for folder in (home, store):
        folder.mkdir()
    with mlflow_server(f"sqlite:///{store}/mlflow.db", store) as address:
        environment = {
            **PLANTED,
            "HOME": str(home),
            "RAY_TMPDIR": str(ray_folder),
            "MLFLOW_TRACKING_URI": address.replace("://", f"://{LOGIN}@"),
        }
        exposed = "data.path=${oc.env:HF_TOKEN}"
        told = []
        for code, command in (
            (0, ("run", DIGITS, f"workspace={workspace}", *TINY)),
            (0, ("sample", "models:/bngan-digits/1", "--workspace", str(workspace), "-o", "/dev/null")),
            (2, ("sample", "models:/bngan-digits/7", "--workspace", str(workspace))),
            (2, ("run", DIGITS, f"workspace={workspace}", exposed)),
        ):  # fmt: skip
            done = bngan_process(*command, code=code, **environment)
            told.append(done.stdout + done.stderr)
    counts = []
    for folder in (workspace, store, home, ray_folder):
        count, found = holding(folder)
        assert found == [], folder
        counts.append(count)
    assert min(counts[0], counts[1], counts[3]) > 10  # it was all there to be looked at
    assert "PLANTED" not in "".join(told[:3])
    assert (home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert workspace.stat().st_mode & 0o777 == 0o700
