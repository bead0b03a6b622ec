"""Machines that are network namespaces of this one: an address and a loopback each, no more."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.environment import ROOT

POSSIBLE = os.geteuid() == 0 and shutil.which("ip") is not None
_APART = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


class Machine:
    """One of a network's, with a folder that only its own processes see at ``Network.temporary``."""

    def __init__(self, network: "Network", name: str, number: int) -> None:
        self.network, self.name, self.namespace = network, name, f"{network.tag}-{name}"
        self.address = f"{network.prefix}.{number}"
        self.folder = network.folder / name
        (self.folder / "tmp").mkdir(parents=True)
        outside, inside = f"{network.tag}o{number}", f"{network.tag}i{number}"
        _ip("netns", "add", self.namespace)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        _ip("link", "set", inside, "netns", self.namespace, "name", "eth0")
        _ip("link", "set", outside, "master", network.bridge, "up")
        _ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.namespace, "link", "set", device, "up")

    def command(self, *arguments: str | Path) -> list[str]:
        own = [str(self.folder / "tmp"), str(self.network.temporary)]
        inside = ["ip", "netns", "exec", self.namespace, "sh", "-c", _APART, "sh", *own]
        return [*inside, *map(str, arguments)]

    def start(
        self, *arguments: str | Path, cwd: Path = ROOT, **environment: str
    ) -> "subprocess.Popen[str]":
        """In the background; what it says is in a file."""
        with self.log.open("a") as log:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=cwd,
                env={**self.network.environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
                text=True,
            )

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def run(self, *arguments: str | Path, **environment: str) -> str:
        """To its end; what it prints on standard output."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env={**self.network.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def kill(self) -> None:
        """As when its power fails: every process of it at once."""
        for _ in range(50):
            if not (pids := _ip("netns", "pids", self.namespace).split()):
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.1)


class Network:
    """A bridge that nothing outside is connected to, and its machines; all gone after ``with``."""

    def __init__(self, folder: Path, *names: str, **environment: str) -> None:
        self.folder, self.names, self.environment = folder, names, environment
        self.tag = f"bn{secrets.token_hex(2)}"
        self.bridge = f"{self.tag}br"
        self.prefix = f"10.213.{secrets.randbelow(250)}"
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> "Network":
        # Paths of sockets must be short.
        self.temporary = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        try:
            _ip("link", "add", self.bridge, "type", "bridge")
            _ip("link", "set", self.bridge, "up")
            for number, name in enumerate(self.names, 1):
                self.machines[name] = Machine(self, name, number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            with contextlib.suppress(subprocess.CalledProcessError):
                if machine := self.machines.get(name):
                    machine.kill()
                _ip("netns", "delete", f"{self.tag}-{name}")
        for number, _ in enumerate(self.names, 1):  # a namespace may outlive its name for a while
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("link", "delete", f"{self.tag}o{number}")
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self.bridge)
        shutil.rmtree(self.temporary, ignore_errors=True)
