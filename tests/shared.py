"""Folders that one process of a pytest run makes for all of them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.lock import exclusive_lock

_TIMEOUT_S = 600.0
"""Seconds to wait for another process that makes a folder."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder ``name`` of this pytest run, which ``make(folder)`` has filled.

    Of several processes one calls ``make``; the others wait for it. If it fails, the next one tries.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with exclusive_lock(root / f"{name}.lock", name, _TIMEOUT_S):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
