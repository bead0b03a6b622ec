"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What ``condition`` returns once it is true of anything; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(seconds / 5000)  # what may take long is not asked too often
    return found
