"""Processes by a mark in their environment, which those that they start inherit; what they leave."""

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "FAULTS_MARK"


def marked(mark: str, command: str = "") -> dict[int, str]:
    """Command lines by number of the living processes with the mark, if ``command`` is in them."""
    found, wanted = dict[int, str](), f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            if line and command in line:
                found[int(folder.name)] = line
    return found


def left(mark: str, seconds: float) -> dict[int, str]:
    """Those that are still there after so long; killed, then."""
    end = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < end:
        time.sleep(0.2)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def shared_memory() -> set[str]:
    """Names of the segments that there are."""
    return {path.name for path in Path("/dev/shm").glob("*")}
