"""A Ray head node of one's own, with token authentication, beside whatever else this machine runs."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.environment import ROOT
from tests.ports import reserve_port

BIN = Path(sys.executable).parent
ASK = """
import json, sys
from ray.job_submission import JobSubmissionClient
client = JobSubmissionClient(sys.argv[1])
print(json.dumps({
    job.submission_id: job.model_dump_json() + client.get_job_logs(job.submission_id)
    for job in client.list_jobs()
    if job.submission_id
}))
"""


class Head:
    """Started in ``folder``, with ``more`` in the environment of its jobs.

    Attributes:
        address: of its dashboard.
        ray_address: for RAY_ADDRESS.
        environment: for commands that may use it.
        token: what they prove that with.
    """

    def __init__(self, folder: Path, **more: str) -> None:
        self.token = secrets.token_hex(32)
        (file := folder / "token").write_text(self.token)
        file.chmod(0o600)
        # Paths of sockets must be short.
        self.temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
        auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file)}
        auth["RAY_USAGE_STATS_ENABLED"] = "0"
        self.environment = {**kept, **auth, "PATH": f"{BIN}:{kept['PATH']}"}
        port, names = (
            reserve_port(),
            ("port", "ray-client-server-port", "dashboard-agent-listen-port"),
        )
        ports = [part for name in names for part in (f"--{name}", str(reserve_port()))]
        self.address, self.ray_address = f"http://127.0.0.1:{port}", f"127.0.0.1:{ports[1]}"
        command = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus", "2", *ports]
        dashboard = ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(port)]
        self.log = folder / "head.log"
        # Not from the sources: what runs there must be what was submitted.
        outside = {k: v for k, v in self.environment.items() if k != "PYTHONPATH"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *dashboard, "--node-ip-address", "127.0.0.1"],
                cwd=folder,
                env={**outside, **more, "RAY_TMPDIR": self.temporary},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.address}/api/version", timeout=60)
            except urllib.error.HTTPError as error:
                if error.code != 401:  # what it says without the token
                    raise
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.5)
        raise AssertionError(self.log.read_text())

    def command(
        self, *arguments: str, code: int | None = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """``bngan``, or with ``ray`` first that, to its end."""
        name, *rest = arguments
        program = [str(BIN / "ray"), *rest] if name == "ray" else self.bngan(*arguments)
        done = subprocess.run(
            program,
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert code in (None, done.returncode), f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def jobs(self) -> dict[str, str]:
        """All that the cluster tells of each job, as JSON, and its log.

        Asked in a process of its own, since Ray keeps the token that a process used first.
        """
        program = [sys.executable, "-c", ASK, self.address]
        done = subprocess.run(
            program, env=self.environment, capture_output=True, text=True, timeout=300, check=True
        )
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return found

    @staticmethod
    def bngan(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "pipeline", *arguments]

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        shutil.rmtree(self.temporary, ignore_errors=True)
