"""``bngan``'s commands, in this process or in one of their own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple
from unittest.mock import patch

from pipeline.cli import app
from tests.environment import ROOT

PROGRAM = (sys.executable, "-m", "pipeline")
DIGITS = str(ROOT / "configs" / "digits.yaml")


class Output(NamedTuple):
    """The text that a command printed."""

    stdout: str
    stderr: str


def bngan(*arguments: object, code: int = 0, **environment: str) -> Output:
    """Run a command in this process, where its imports are paid for, and check its exit code."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        with patch.dict(os.environ, environment), _redirected(1, out), _redirected(2, errors):
            ended = _exit_code([str(argument) for argument in arguments])
        output = Output(*(_content(file) for file in (out, errors)))
    assert ended == code, f"exit code {ended}\n{output.stdout[-2000:]}\n{output.stderr[-2000:]}"
    return output


def bngan_process(
    *arguments: object, code: int = 0, timeout: float = 600, **environment: str
) -> Output:
    """Run a command in a process of its own, as a user does, and check its exit code."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=timeout,
    )
    assert done.returncode == code, done.stderr[-4000:]
    return Output(done.stdout, done.stderr)


def _exit_code(arguments: list[str]) -> Any:
    try:
        app(arguments, prog_name="bngan")
    except SystemExit as ended:
        return ended.code
    return 0


@contextmanager
def _redirected(descriptor: int, file: IO[bytes]) -> Iterator[None]:
    """Send to ``file`` all that is written to a descriptor, or to Python's stream of it."""
    name = {1: "stdout", 2: "stderr"}[descriptor]
    saved = os.dup(descriptor)
    os.dup2(file.fileno(), descriptor)
    # Not closed in the end: loggers keep it.
    stream = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        with patch.object(sys, name, stream):
            yield
    finally:
        stream.flush()
        os.dup2(saved, descriptor)
        os.close(saved)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def running(*arguments: object, **options: Any) -> "subprocess.Popen[str]":
    """Start a command in a process of its own, and do not wait for it."""
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], text=True, **options)
