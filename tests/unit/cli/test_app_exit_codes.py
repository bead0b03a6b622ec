"""Exit codes, and what is printed with them."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cli.app import errors_as_exit_codes
from pipeline.core.errors import RetryableError, ServerUnavailableError, UserError
from pipeline.core.ray_internals import JOB_ENVIRONMENT
from pipeline.workflow.results import RunResult

DIGITS = Path(__file__).parents[3] / "configs" / "digits.yaml"


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("a: wrong\nb: [wrong]"), 2, "error: a: wrong\nerror: b: [wrong]\n"),
        (ServerUnavailableError("MLflow is away"), 3, "error: MLflow is away\n"),
        (RetryableError("a is locked"), 3, "error: a is locked\n"),
        (
            PermissionError(13, "Permission denied", "/x"),
            2,
            "error: Permission denied: /x: let its o",
        ),
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


@pytest.mark.parametrize("name", ["BNGAN_DEBUG", JOB_ENVIRONMENT])
def test_a_traceback_of_a_right_that_is_missing(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(typer.Exit) as ended, errors_as_exit_codes():
        raise PermissionError(13, "Permission denied", "/x")
    assert ended.value.exit_code == 2
    assert "Traceback" in capsys.readouterr().err


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
