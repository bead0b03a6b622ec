"""Check that the umask leaves new files open to the group that shares their folder."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from pipeline.core.environment import inside_a_job

_SHARED = stat.S_ISGID | stat.S_IWGRP


def umask_problem(folder: Path) -> str | None:
    """Return a message if a group shares ``folder``, and the umask closes new files to it.

    A job on a cluster has the umask of ``ray start``.
    """
    mask = _umask()
    with suppress(OSError):
        if mask & 0o070 and folder.stat().st_mode & _SHARED == _SHARED and not _has_list(folder):
            shared = f"{folder} is shared by a group"
            mend = "run umask 002" + " before ray start on the cluster" * inside_a_job()
            return f"{shared}, and umask {mask:03o} closes new files to it: {mend}"
    return None


def _umask() -> int:
    """Return the umask; Python can only read it by changing it, for all threads."""
    with suppress(OSError, StopIteration):  # no Linux
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("Umask:")), 8)
    os.umask(mask := os.umask(0o077))
    return mask


def _has_list(folder: Path) -> bool:
    """Return whether the folder has a default access list, which counts in place of the umask."""
    with suppress(OSError, AttributeError):  # no list, no lists here, no lists in this Python
        return bool(os.getxattr(folder, "system.posix_acl_default"))
    return False
