"""Programs that judge files, and mistakes planted to see whether they do."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.environment import ROOT

INFRA = ROOT / "infra"
_BIN = Path(sys.executable).parent
Problems = list[str]
Document = dict[str, Any]


def program(name: str) -> str:
    """Of this environment, else of this machine."""
    return str(_BIN / name) if (_BIN / name).exists() else name


def judge(*command: str | Path, given: str = "", **environment: str) -> Problems:
    """What a program that is quiet about good files says; nothing if it is content."""
    done = run(*command, given=given, **environment)
    text = (done.stdout + done.stderr).strip()
    return [] if done.returncode == 0 else [text or f"exit code {done.returncode}"]


def run(
    *command: str | Path, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    name, *rest = map(str, command)
    return subprocess.run(
        [program(name), *rest],
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
    )


def plant(text: str, old: str, new: str) -> str:
    """``text`` with a mistake in it, everywhere that ``old`` is."""
    assert old in text, f"there is no {old!r} to replace"
    return text.replace(old, new)


def pins() -> dict[str, str]:
    """Versions in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
