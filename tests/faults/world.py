"""A workspace that is put back to before a stage, with all around it that can fail."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bngan.serialization.manifest import damage, outputs_digest
from pipeline.core.environment import set_defaults
from tests.environment import ROOT
from tests.faults.driver import CLOCK, PATIENCE
from tests.faults.processes import MARK, left
from tests.faults.proxy import Proxy
from tests.integration.servers import mlflow_server

set_defaults()
STAGES = ("prepare", "reference", "train", "evaluate", "register")
RESULT = {
    "prepare": ("*.npy", "dataset.json"),
    "reference": ("extractor.*", "*.npz", "reference.json"),
    "train": ("generator.*",),
    "evaluate": ("scores.json",),
}
"""What of a stage's files must be the same with and without faults."""
SMALL = (
    *("train.images=20000", "train.score_every=5000", "train.batch_size=64"),
    *("train.num_workers=2", "train.threads_per_worker=1", "train.checkpoint_every_seconds=1"),
    *("model.generator.width=32", "model.discriminator.width=32"),
)
BOUND = 300.0
"""Seconds after which a command is said to hang."""
TMPFS = "256m"
WAITS = 15.0
"""Seconds that a run waits for a server that is away, in place of ten minutes."""


@dataclass
class Ended:
    """How a command ended."""

    code: int | None
    """None: it hung, and was killed."""
    seconds: float
    said: str
    """On standard error."""

    @property
    def last(self) -> str:
        """The last line, or what it says of the error."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("error:", "failed:"))]
        return (errors or lines or [""])[-1]


class World:
    """``folder`` is short: sockets are in it. ``server``: whether MLflow is one, behind ``proxy``."""

    def __init__(self, folder: Path, server: bool) -> None:
        self.folder, self.workspace = folder, folder / "ws"
        self.mark, self.stack = uuid.uuid4().hex, contextlib.ExitStack()
        self.books, self.proxy = self.workspace / "mlflow.db", Proxy(9)
        for name in ("ws", "tmp", "kept", "server"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.small_disk = os.geteuid() == 0
        if self.small_disk:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "bngan-faults"]
            subprocess.run([*mount, str(self.workspace)], check=True)
            self.stack.callback(subprocess.run, ["umount", "-l", str(self.workspace)], check=False)
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_MODE")},
            **{MARK: self.mark, PATIENCE: str(WAITS), CLOCK: str(folder / "clock")},
            **{"TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
            "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "10",
        }
        self.environment.pop("MLFLOW_TRACKING_URI", None)
        if server:
            self.books = folder / "server" / "mlflow.db"
            pool = "MLFLOW_SQLALCHEMYSTORE_POOLCLASS"  # so that the file can be put back under it
            os.environ[pool] = "NullPool"
            serve = mlflow_server(f"sqlite:///{self.books}", folder / "server")
            address = self.stack.enter_context(serve)
            del os.environ[pool]
            self.proxy.target = int(address.rpartition(":")[2])
            self.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{self.proxy.port}"

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        left(self.mark, 0)
        self.proxy.close()
        self.stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, name: str) -> None:
        """Remember the workspace and the store as they are."""
        kept = self.folder / "kept" / name
        shutil.rmtree(kept, ignore_errors=True)
        for part in (self.workspace, self.folder / "server"):
            shutil.copytree(part, kept / part.name)

    def put_back(self, name: str) -> None:
        """Have them again as they were."""
        self.proxy.set("through")
        self.forgive()
        kept = self.folder / "kept" / name
        for part in (self.workspace, self.folder / "server"):
            for old in part.iterdir():
                if old.name != "mlflow.log":
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
            shutil.copytree(kept / part.name, part, dirs_exist_ok=True)

    def forgive(self) -> None:
        """Take away what the disk is full of, and what is wrong with the clock."""
        (self.workspace / "ballast").unlink(missing_ok=True)
        (self.folder / "clock").unlink(missing_ok=True)

    def fill(self) -> None:
        """Leave no room on the workspace's disk."""
        with contextlib.suppress(OSError), (self.workspace / "ballast").open("wb", 0) as file:
            while True:
                file.write(bytes(4096))

    def run(
        self,
        until: str,
        *more: str,
        when: Callable[[str], bool] | None = None,
        fault: Callable[[int], None] = lambda pid: None,
        seconds: float = BOUND,
    ) -> Ended:
        """``bngan run`` up to a stage; ``fault`` strikes once ``when`` holds of what it said."""
        command = [sys.executable, "-m", "tests.faults.driver", "run", "configs/digits.yaml"]
        settings = (f"workspace={self.workspace}", *SMALL, *more)
        log, begun = self.folder / "stderr", time.monotonic()
        with log.open("w") as file:
            driver = subprocess.Popen(
                [*command, "--to", until, *settings],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        while driver.poll() is None and time.monotonic() - begun < seconds:
            if when and when(log.read_text()):
                when = None
                fault(driver.pid)
            time.sleep(0.01)
        hung = driver.poll() is None
        if hung:
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        told = "" if when is None else "\nthe fault did not come to pass"
        took = time.monotonic() - begun
        return Ended(None if hung else driver.returncode, took, log.read_text() + told)

    def result(self, stage: str) -> Any:
        """What a stage has come to, as it can be compared."""
        if stage == "register":
            return self.registry()
        found = [f for f in (self.workspace / "stages" / stage).glob("[!.]*") if f.is_dir()]
        return [outputs_digest(folder, RESULT[stage]) for folder in sorted(found)]

    def registry(self) -> dict[str, Any]:
        """Versions and aliases."""
        versions = self.ask("select version from model_versions where current_stage != 'Deleted'")
        aliases = self.ask("select alias, version from registered_model_aliases order by alias")
        return {"versions": versions, "aliases": aliases}

    def ask(self, query: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.books)) as store:
            return store.execute(query).fetchall()

    def trouble(self) -> list[str]:
        """What should not be left of a run that is over."""
        found = [
            f"run left RUNNING: {row}"
            for row in self.ask("select name from runs where status = 'RUNNING'")
        ]
        found += [f"draft left: {path.name}" for path in self.workspace.rglob(".*.tmp-*")]
        for folder in self.workspace.glob("stages/*/[!.]*"):
            if problem := damage(folder):
                found.append(problem)
        return found

    def begun(self, stage: str) -> Callable[[str], bool]:
        """Whether a run has said that it begins with a stage."""
        return lambda said: any(
            line.startswith(stage) and " in " not in line for line in said.splitlines()
        )

    def trains(self, said: str) -> bool:
        """Whether there is a checkpoint."""
        return bool(list(self.workspace.glob("training/*/images-*/manifest.json")))


def short_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="f-", dir="/tmp"))
