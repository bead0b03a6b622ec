"""How errors end a command: one line, and a code that scripts can go by."""

import copy
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bngan.serialization.problem import Problem
from pipeline.cli import app
from pipeline.cli.app import errors_as_exit_codes
from pipeline.core.errors import RetryableError, ServerUnavailableError, UserError, root_cause_line
from pipeline.workflow.results import RunResult, StageFailed
from tests.unit.core.test_urllib3_errors import REFUSED, no_answer

DIGITS = Path(__file__).parents[3] / "configs" / "digits.yaml"
ASKED = "http://127.0.0.1:1/api"


class Wrapped(Exception):
    """As Ray wraps errors of its tasks and workers."""

    def __init__(self, **inside: Any) -> None:
        super().__init__("ray::worker() (pid=1)\n  Traceback\n")
        self.__dict__.update(inside)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such thing\nand more"), "ValueError: no such thing"),
        (MemoryError(), "MemoryError"),
        (no_answer(ASKED), f"RuntimeError: API request to {ASKED} failed: {REFUSED}"),
        (OSError(28, "No space left on device", "/x/y"), "No space left on device: /x/y"),
        (OSError("cannot be had"), "OSError: cannot be had"),
        (StageFailed(RunResult("", {}, {}, {}), KeyError("a")), "KeyError: 'a'"),
        (Wrapped(cause=Wrapped(cause=RuntimeError("deep"))), "RuntimeError: deep"),
        (Wrapped(worker_failures={1: Wrapped(cause=OSError(28, "full"))}), "full"),
        (Wrapped(worker_failures={0: ConnectionError("gone"), 1: KeyError("a")}), "KeyError: 'a'"),
        (Wrapped(controller_failure=TimeoutError("late")), "TimeoutError: late"),
    ],
)
def test_the_line_that_matters(error: Exception, line: str) -> None:
    assert root_cause_line(error) == line


def test_an_error_has_its_problems() -> None:
    problem = Problem("train.lr", "train.lr must be positive, got -1")
    error = UserError(problem, "there is no such file")
    assert error.problems == [problem, Problem("", "there is no such file")]
    assert str(error) == "train.lr must be positive, got -1\nthere is no such file"
    assert copy.copy(error).problems == error.problems  # as pickle does for another process


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("a: wrong\nb: [wrong]"), 2, "error: a: wrong\nerror: b: [wrong]\n"),
        (ServerUnavailableError("MLflow is away"), 3, "error: MLflow is away\n"),
        (RetryableError("a is locked"), 3, "error: a is locked\n"),
        (RuntimeError("broken"), 3, "failed: RuntimeError: broken; bngan --debug COMMAND shows "),
        (KeyboardInterrupt(), 130, "interrupted; go on like this"),
        (SystemExit(143), 143, "terminated; go on like this"),
        (typer.Exit(4), 4, ""),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises((typer.Exit, SystemExit)) as ended,
        errors_as_exit_codes("go on like this"),
    ):
        raise error
    assert getattr(ended.value, "exit_code", getattr(ended.value, "code", None)) == code
    said = capsys.readouterr().err
    assert said.startswith(told)
    assert "Traceback" not in said


def test_a_traceback_for_who_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNGAN_DEBUG", "1")
    monkeypatch.setenv("HF_TOKEN", "plainly-seen")
    for error in (RuntimeError("broken plainly-seen"), UserError("no plainly-seen")):
        with pytest.raises(typer.Exit), errors_as_exit_codes():
            raise error
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "broken ***" in told
    assert "plainly-seen" not in told


@pytest.mark.parametrize(("alias", "code"), [("champion", 0), ("challenger", 4), (None, 4)])
def test_a_gate_that_is_enforced(
    alias: str | None, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registered = {"name": "x", "version": "1", "alias": alias, "uri": "models:/x/1"}
    result = RunResult("", {}, {"register": registered}, {})
    monkeypatch.setattr("pipeline.workflow.runner.run", lambda *_: result)
    command = ["run", str(DIGITS), f"workspace={tmp_path}", "--json"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert CliRunner().invoke(app, [*command, "--enforce"]).exit_code == code
