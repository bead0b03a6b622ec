"""MLflow's server with a database of its own, PostgreSQL, an object store."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import requests

from tests.commands import running
from tests.ports import reserve_port
from tests.waiting import until

POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Its address, password included. It refuses to be run by root: then it is its own user's."""
    assert POSTGRES
    owner = {"user": "postgres", "group": "postgres", "extra_groups": []} if is_root() else {}
    folder, password, port = (
        Path(tempfile.mkdtemp(dir="/tmp")),
        secrets.token_hex(16),
        reserve_port(),
    )
    (folder / "password").write_text(password)
    if is_root():
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    make = [str(POSTGRES), "-D", str(folder / "data"), "-U", "bngan", "--auth=scram-sha-256"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": folder, **owner}
    subprocess.run([*make, "--pwfile", str(folder / "password")], check=True, **quiet)
    serve = [str(POSTGRES.with_name("postgres")), "-D", str(folder / "data"), "-p", str(port)]
    only_here = ["-c", "listen_addresses=127.0.0.1", "-k", str(folder)]
    server = subprocess.Popen([*serve, *only_here], **quiet)
    try:
        ready = [str(POSTGRES.with_name("pg_isready")), "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False, **quiet).returncode:
            assert server.poll() is None
            time.sleep(0.2)
        yield f"postgresql+psycopg2://bngan:{password}@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def is_root() -> bool:
    return os.geteuid() == 0


@contextlib.contextmanager
def mlflow_server(database: str, folder: Path) -> Iterator[str]:
    """Its address; artifacts go through it."""
    port = reserve_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "mlflow.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", server, folder / "mlflow.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


@contextlib.contextmanager
def served(*arguments: str, **environment: str) -> Iterator[str]:
    """Run ``bngan serve`` in a process of its own, and yield its address once it answers."""
    port = reserve_port()
    url = f"http://127.0.0.1:{port}"
    server = running("serve", *arguments, "--port", port, env={**os.environ, **environment})

    def answers() -> bool:
        assert server.poll() is None
        try:
            return requests.get(f"{url}/ping", timeout=60).ok
        except requests.ConnectionError:
            return False

    try:
        until(answers, 120)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)


@contextlib.contextmanager
def object_store() -> Iterator[int]:
    """The port of one on 127.0.0.1. Buckets are those of all stores of this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


def s3(address: str) -> dict[str, str]:
    """The environment in which an object store is found."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }


def _wait(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(360):
        try:
            urllib.request.urlopen(url, timeout=60)
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
    raise AssertionError(log.read_text())


class Server:
    """``mlflow server`` on SQLite, with artifacts by proxy."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, reserve_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        store = f"sqlite:///{self.folder}/server.db"
        options = [
            *("--backend-store-uri", store, "--artifacts-destination", str(self.folder / "kept")),
            *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
        ]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self.answers, 120)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=60):
                return True
        except OSError:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            return False

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)  # its workers, too
            self.process.wait()
            self.process = None
