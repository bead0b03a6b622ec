"""Every command of the README's ``sh`` blocks, in order, in a folder that is new.

All but the schedule that waits for its hour.

Commands run as printed but for what a test must change: free ports, small budgets, a folder of
images where the README says FOLDER.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.environment import ROOT
from tests.ports import reserve_port

COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for line in block.splitlines()
    if line
]
SMALL = "train.images=1024 train.score_every=512 train.batch_size=32"
SMALLER = (
    f"{SMALL} evaluate.protocol=fid20_test model.generator.width=4 model.discriminator.width=4"
)


def is_server(command: str) -> bool:
    return bool(re.search(r"mlflow ui|bngan serve|ray start|bngan schedule \S+$", command))


def is_elsewhere(command: str) -> bool:
    return "--address" in command


def starts(head: str) -> str:
    """The README's command that begins with ``head``."""
    (command,) = [c for c in COMMANDS if c.startswith(head)]
    return command


class Shell:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: str(reserve_port()) for port in ("5000", "5001", "8265")}
        self.servers: list[subprocess.Popen[str]] = []
        binaries = Path(sys.executable).parent
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            # Of its own: Ray remembers the last head node there, and paths of sockets must be short.
            "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray-", dir="/tmp"),
            "TERM": "dumb",
        }

    def adapt(self, command: str) -> str:
        for port, free in self.ports.items():
            command = re.sub(rf"\b{port}\b", free, command)
        command = command.replace("FOLDER", "images")
        # Where another cluster has the agent's port, this one takes no jobs.
        ports = f"--port {reserve_port()} --dashboard-agent-listen-port {reserve_port()}"
        command = command.replace("ray start", f"ray start {ports}")
        small = SMALL if "digits.yaml" in command else SMALLER
        if re.search(r"(bngan|pipeline) (run|adapt|check|submit)", command):
            command = f"{command} {small}"
        return command

    def run(self, command: str) -> str:
        for _ in range(60):
            done = subprocess.run(
                ["bash", "-c", self.adapt(command)],
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=600,
            )
            if "No available agent" not in done.stderr:  # the head answers before it can take jobs
                break
            time.sleep(1)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def serve(self, command: str, port: str, path: str) -> None:
        log = (self.folder / f"server-{port}.log").open("w")
        self.servers.append(
            subprocess.Popen(
                ["bash", "-c", f"exec env {self.adapt(command)}"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        )
        url = f"http://127.0.0.1:{self.ports[port]}{path}"
        for _ in range(240):
            try:
                urllib.request.urlopen(url, timeout=60)
                return
            except urllib.error.HTTPError:
                return  # somebody answers
            except OSError:
                assert self.servers[-1].poll() is None, (
                    self.folder / f"server-{port}.log"
                ).read_text()
                time.sleep(0.5)
        raise AssertionError(f"{command} does not answer")

    def close(self) -> None:
        for server in self.servers:
            os.killpg(server.pid, signal.SIGTERM)
        for server in self.servers:
            try:
                server.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
        shutil.rmtree(self.environment["RAY_TMPDIR"], ignore_errors=True)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("clone")
    for name in ("bngan", "pipeline", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", folder)
    (folder / "home").mkdir()
    random = np.random.default_rng(0)
    for i in range(400):
        path = folder / "images" / f"class_{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 20), dtype=np.uint8)).save(path)
    shell = Shell(folder)
    yield shell
    shell.close()


def test_every_command_is_covered() -> None:
    covered = (
        "bngan",
        "mlflow ui",
        "curl",
        "RAY_AUTH_MODE",
        "ray get-auth-token",
        "torchrun",
    )
    assert len(COMMANDS) >= 9
    assert [c for c in COMMANDS if not c.startswith(covered)] == []


@pytest.mark.timeout(1800)  # more than twenty commands
@pytest.mark.full
def test_using_it(shell: Shell) -> None:
    for command in COMMANDS:
        if command.startswith("bngan") and not is_server(command) and not is_elsewhere(command):
            output = shell.run(command)
            if command.endswith("--json"):
                stages = json.loads(output)["stages"]
                assert {stage["status"] for stage in stages.values()} == {"cached"}
    assert Image.open(shell.folder / "grid.png").size[0] > 400


@pytest.mark.full
def test_the_library_alone_on_two_processes(shell: Shell) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (shell.folder / "train.py").write_text(example)
    lines = shell.run(starts("torchrun")).splitlines()
    assert [int(line.split()[0]) for line in lines][-1] == 100_096
    assert len(lines) == 10
    assert Image.open(shell.folder / "digits.png").size[0] > 400


@pytest.mark.full
def test_mlflow_opens(shell: Shell) -> None:
    shell.serve(starts("mlflow ui"), "5000", "/health")
    api = f"http://127.0.0.1:{shell.ports['5000']}/api/2.0/mlflow"
    answer = urllib.request.urlopen(f"{api}/registered-models/get?name=bngan-digits")
    model = json.load(answer)["registered_model"]
    assert {alias["alias"] for alias in model["aliases"]} >= {"champion"}


@pytest.mark.full
def test_the_served_model_answers_with_the_same_images_for_a_seed(shell: Shell) -> None:
    shell.serve(starts("bngan serve"), "5001", "/ping")
    answers = [shell.run(starts("curl")) for _ in range(2)]
    images = np.array(json.loads(answers[0])["predictions"])
    assert images.shape == (2, 8, 8, 1)
    assert images.max() > 200
    assert answers[0] == answers[1]
    assert shell.run(starts("curl").replace('"seed": 7', '"seed": 8')) != answers[0]


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_job_on_a_cluster_with_tokens(shell: Shell) -> None:
    for command in COMMANDS:
        if command.startswith("ray get-auth-token"):
            shell.run(command)
    (head,) = [c for c in COMMANDS if "ray start" in c]
    (submit,) = [c for c in COMMANDS if "ray job submit" in c]
    followed = starts("bngan submit")
    shell.serve(head, "8265", "/api/version")
    with pytest.raises(urllib.error.HTTPError, match="401"):  # without the token
        urllib.request.urlopen(f"http://127.0.0.1:{shell.ports['8265']}/api/jobs/")
    # A training of its own, in the workspace the job was given by absolute path.
    output = shell.run(f"{followed} seed=1")
    assert "register   done in" in output
    again = shell.run(f"{submit} seed=1")
    assert "succeeded" in again
    assert again.count("cached in") == 5
