"""Jobs on a real cluster with token authentication, from the command line."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

from tests.environment import ROOT
from tests.integration.conftest import TINY
from tests.integration.head import Head

LONG = ["train.images=400000", "train.score_every=40000", "train.checkpoint_every_seconds=1"]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    found = Head(tmp_path_factory.mktemp("head"))
    yield found
    found.stop()


def submit(head: Head, workspace: Path, *more: str, code: int = 0, **environment: str) -> Any:
    given = ("submit", "configs/digits.yaml", *TINY, f"workspace={workspace}", *more)
    return head.command(*given, "--address", head.address, code=code, **environment)


@pytest.mark.full
def test_a_job_once_and_what_it_shows(head: Head, tmp_path: Path) -> None:
    small = submit(head, tmp_path, "train.num_workers=5", code=2)
    assert "needs as many CPUs, but the Ray cluster has 2 on 1 node" in small.stderr
    wrong = submit(head, tmp_path, code=2, RAY_AUTH_TOKEN_PATH=str(Path(__file__)))
    assert "wants its token (Authentication failed" in wrong.stderr
    assert not list(tmp_path.iterdir())

    # Two at once, a third later; typed elsewhere, and with RAY_ADDRESS set to something else.
    secret = {"MLFLOW_TRACKING_PASSWORD": "hunter2", "RAY_ADDRESS": "10.0.0.1:1"}
    given = ("configs/digits.yaml", *TINY, *LONG, f"workspace={tmp_path}")
    command = head.bngan("submit", *given, "--address", head.address)
    environment = {**head.environment, **secret}
    both = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    told = [[part.decode().strip() for part in each.communicate(timeout=200)] for each in both]
    (job,) = {stdout for stdout, _ in told}
    assert sorted(stderr for _, stderr in told) == [
        f"submitted to {head.address}",
        f"there already, at {head.address}",
    ]
    assert submit(head, tmp_path, *LONG).stdout.strip() == job
    head.command("ray", "job", "stop", job, "--address", head.address)
    shown = head.jobs()[job].replace(str(tmp_path), "WORKSPACE")
    for hidden in (str(ROOT), f"{gettempdir()}/bngan-", head.token, "hunter2", "TOKEN_PATH"):
        assert hidden not in shown
    assert "STOPPED" in shown


def followed(head: Head, workspace: Path, *more: str) -> "subprocess.Popen[str]":
    given = ("configs/digits.yaml", *TINY, *LONG, f"workspace={workspace}", *more)
    return subprocess.Popen(
        head.bngan("submit", *given, "--follow", "--address", head.address),
        cwd=ROOT,
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_what_is_stopped_in_mid_training_goes_on(head: Head, tmp_path: Path) -> None:
    more = ("train.images=150000",)
    first = followed(head, tmp_path, *more)
    job = submit(head, tmp_path, *LONG, *more).stdout.strip()
    for _ in range(1200):
        if list(tmp_path.glob("training/*/images-*")) or first.poll() is not None:
            break
        time.sleep(0.1)
    head.command("ray", "job", "stop", job, "--address", head.address)
    stdout, _ = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "registered" not in stdout
    second = followed(head, tmp_path, *more)
    stdout, stderr = second.communicate(timeout=300)
    assert second.returncode == 0, stdout
    assert f"submitted to {head.address}\n{job}-2\n" in f"{stderr}{stdout}"
    assert "continues from " in stdout
    assert "champion (first version)" in stdout
    told = head.command("status", "--workspace", str(tmp_path), "--json").stdout
    assert [run["state"] for run in json.loads(told)["runs"]] == ["finished", "interrupted"]


@pytest.mark.slow
def test_the_drivers_exit_code_is_that_of_who_follows(head: Head, tmp_path: Path) -> None:
    # As the cluster finds out: nobody here can know.
    missing = followed(head, tmp_path, "data.path=/nowhere/to/be/found")
    stdout, _ = missing.communicate(timeout=200)
    assert (missing.returncode, "there is no folder /nowhere" in stdout) == (2, True)


@pytest.mark.slow
def test_a_relative_workspace_of_a_job_is_refused_there(head: Head) -> None:
    given = ["ray", "job", "submit", "--address", head.address, "--working-dir", str(ROOT)]
    done = head.command(
        *given, "--", "python", "-m", "pipeline", "run", "configs/digits.yaml", code=1
    )
    assert "workspace=runs is relative" in done.stdout + done.stderr
