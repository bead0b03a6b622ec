"""Lets the tests for a GPU run without what ``tests/conftest.py`` needs besides torch.

For ``pytest --noconftest -p tests.benchmarks.gpu.plugin``.
"""

import importlib
import socket
import sys
from types import ModuleType


def _free_port() -> int:
    """Return a TCP port on the loopback interface that nobody listens on now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


try:
    importlib.import_module("tests.conftest")
except ImportError:
    stand_in = ModuleType("tests.conftest")
    stand_in.free_port = _free_port  # type: ignore[attr-defined]
    sys.modules["tests.conftest"] = stand_in
