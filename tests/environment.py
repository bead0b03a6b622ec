"""The environment of the tests: a developer's settings change nothing."""

import os
import re
import signal
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""
_FOREIGN = re.compile(
    r"(MLFLOW|RAY|BNGAN|HF|AWS|LC)_|PYTHON(PATH|HOME|WARNINGS)$|(LANG|LANGUAGE|TZ)$|\w+_PROXY$",
    re.IGNORECASE,
)


def isolate() -> None:
    """Remove settings of the tools that are tested, proxies, time zone and language.

    Processes that tests start import this checkout, wherever they run. Ctrl-C works in them, although
    shells let what they start in the background ignore it.
    """
    for name in [name for name in os.environ if _FOREIGN.match(name)]:
        del os.environ[name]
    os.environ |= {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONPATH": str(ROOT)}
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
