"""The suite itself: it neither needs nor changes what a developer has in the checkout or has set."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import ROOT

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.geteuid() == 0 and shutil.which("setpriv") is None,
        reason="there is no setpriv: it comes with util-linux",
    ),
]
TESTS = (
    *("unit/cli", "unit/config", "unit/registry", "unit/tracking", "unit/workflow"),
    *("integration/test_pipeline.py", "integration/test_tampered_models.py"),
)
"""Tests that read configurations, start commands and open workspaces."""
OTHERS = {
    "BNGAN_CACHE": "/nowhere",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "LC_ALL": "tr_TR.UTF-8",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
    "RAY_ADDRESS": "127.0.0.1:1",
    "TZ": "Asia/Kathmandu",
    "http_proxy": "http://127.0.0.1:1",
}
"""Settings that a developer may have. Nobody answers at these addresses."""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy that cannot be written to, with a workspace in ``runs`` that nobody can use."""
    copy = tmp_path / "checkout"
    list_files = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(list_files, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in files.stdout.splitlines():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (copy / "runs" / "training" / "digits-0123456789abcdef").mkdir(parents=True)
    (copy / "runs" / "mlflow.db").write_text("no database")
    (copy / "runs" / "stages").write_text("no folder")
    before = set(copy.rglob("*"))
    for path in (copy, *before):
        path.chmod(path.stat().st_mode & ~0o222)
    yield copy
    for path in (copy, *before):
        path.chmod(path.stat().st_mode | 0o200)
    assert set(copy.rglob("*")) == before


def test_a_used_read_only_checkout_elsewhere_and_a_strange_environment(
    checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "stranger" / "bngan").mkdir(parents=True)
    (tmp_path / "stranger" / "bngan" / "__init__.py").write_text("raise SystemExit('a stranger')")
    # Nobody may write to what is read-only, not even root.
    as_anybody = ["setpriv", "--bounding-set", "-dac_override,-fowner"] * (os.geteuid() == 0)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*as_anybody, *command, *(str(checkout / "tests" / name) for name in TESTS)],
        cwd=tmp_path,
        env={**os.environ, **OTHERS, "PYTHONPATH": str(tmp_path / "stranger")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
