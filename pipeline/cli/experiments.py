"""Commands on an experiment's configuration: run, plan, check."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from pipeline.cli.app import (
    AllowMismatch,
    AsJson,
    ConfigFile,
    Overrides,
    app,
    command_output,
    console,
    errors,
    errors_as_exit_codes,
    print_stderr,
)
from pipeline.cli.signals import terminate_as_exit
from pipeline.core.errors import UserError
from pipeline.storage.artifacts import REPORT, SAMPLE_GRID
from pipeline.storage.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.config.schema import Config
    from pipeline.workflow.results import RunResult
    from pipeline.workflow.runner import Options


_CONTINUES = "the same command continues from the last checkpoint"


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    start: Annotated[
        str, typer.Option("--from", help="First stage; those before it must be up to date.")
    ] = "prepare",
    until: Annotated[str, typer.Option("--to", help="Last stage.")] = "register",
    force: Annotated[
        list[str] | None,
        typer.Option(
            help="Stage to run although nothing has changed; several times if wanted. train goes on "
            "from its last checkpoint all the same."
        ),
    ] = None,
    allow_mismatch: AllowMismatch = False,
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Exit code 4 if the version is not champion.")
    ] = False,
) -> None:
    """Bring an experiment up to date: prepare, reference, train, evaluate, register.

    Stages whose data, configuration and code are unchanged are not run again. Progress goes to
    standard error.
    """
    with command_output(as_json, _CONTINUES) as emit:
        settings = _load(config, overrides, here=True)
        # Only now: a mistake in the configuration should not wait for MLflow.
        from pipeline.cli.display import print_summary
        from pipeline.workflow import runner as workflow
        from pipeline.workflow.results import StageFailed

        options = workflow.Options(start, until, tuple(force or ()), allow_mismatch)
        if enforce and until != "register":
            raise UserError("--enforce is about what is registered, and --to ends before")
        try:
            result = _bring_up_to_date(settings, options)
        except StageFailed as failure:
            emit(_as_json(failure.result))
            raise failure.cause from None
        printer = print_summary if "register" in result.summaries else None
        emit(_as_json(result), printer, result, Workspace(settings.workspace))
        if enforce and result.summaries["register"]["alias"] != "champion":
            raise typer.Exit(4)


@app.command()
def adapt(
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE", help="models:/NAME@ALIAS, models:/NAME/VERSION or a folder."
        ),
    ],
    config: ConfigFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    allow_mismatch: AllowMismatch = False,
) -> None:
    """Adapt a generator to other images by gamma and beta: run with adapt.base=BASE.

    Only those are trained, unless train.trainable=all is given.
    """
    run(config, [*(overrides or []), f"adapt.base={base}"], as_json, allow_mismatch=allow_mismatch)


@app.command()
def validate(config: ConfigFile, overrides: Overrides = None) -> None:
    """Say all that is wrong with an experiment's file, a study's or a schedule's, a line each.

    Exit code 2 if anything is. Writes nothing, unless the base of an adaptation has to be fetched,
    and asks no cluster.
    """
    with errors_as_exit_codes():
        from pipeline.cli.display import print_lines
        from pipeline.cli.preflight import all_problems

        kind = all_problems(config, overrides or [], print_stderr)
        print_lines(console, f"{config}: nothing is wrong with this {kind}")


@app.command()
def plan(config: ConfigFile, overrides: Overrides = None) -> None:
    """Say for every stage whether it would run, and why.

    Runs nothing; a new workspace gets its (empty) MLflow database. For a training on GPUs it also
    says what memory a step takes.
    """
    with errors_as_exit_codes():
        settings = _load(config, overrides)
        from pipeline.cli.display import print_lines, print_plan
        from pipeline.cli.gpu_memory import gpu_memory
        from pipeline.workflow import runner as workflow

        decisions = workflow.plan(settings)
        print_plan(console, decisions)
        if line := gpu_memory(settings, decisions):
            print_lines(console, line)


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Take one training step on the workers and in one process, and say how far the two differ.

    Exit code 1 if by more than float64 rounds.
    """
    with errors_as_exit_codes():
        settings = _load(config, overrides, here=True)
        from pipeline.cli.display import print_differences
        from pipeline.cluster.address import require_cluster
        from pipeline.training.equivalence_check import LIMIT, compare
        from pipeline.workflow import runner as workflow
        from pipeline.workflow.results import StageFailed

        require_cluster()
        try:
            until = "reference" if settings.adapt.base else "prepare"
            result = _bring_up_to_date(settings, workflow.Options(until=until))
        except StageFailed as failure:
            raise failure.cause from None
        folders = result.folders
        differences, workers = compare(settings, folders["prepare"], folders.get("reference"))
        print_differences(console, differences, workers)
        if max(d.exact for d in differences) > LIMIT:
            raise typer.Exit(1)


def _load(path: Path, overrides: list[str] | None, here: bool = False) -> "Config":
    """Read the configuration of what is to be done ``here``, or only planned; say what is doubtful."""
    from pipeline.cli.configuration import load_config
    from pipeline.cli.preflight import obstacles
    from pipeline.config.loader import no_further
    from pipeline.config.validation import config_warnings

    config = load_config(path, overrides or [], print_stderr, obstacles if here else no_further)
    for warning in config_warnings(config):
        errors.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    return config


def _bring_up_to_date(config: "Config", options: "Options") -> "RunResult":
    from pipeline.cli.display import ConsoleDisplay
    from pipeline.cli.preflight import require_ray
    from pipeline.workflow import runner as workflow

    if options.until not in ("prepare", "reference"):
        require_ray(config)
    with closing(ConsoleDisplay(errors)) as display, terminate_as_exit():
        return workflow.run(config, display, options)


def _as_json(result: "RunResult") -> dict[str, Any]:
    """The documented object; what a failed run did not reach is null."""
    evaluation, registered = (result.summaries.get(k) for k in ("evaluate", "register"))
    folder = result.folders.get("evaluate")
    return {
        "run_id": result.run_id,
        "stages": {
            name: {"status": s.status, "seconds": round(s.seconds, 2), "reason": s.reason}
            for name, s in result.stages.items()
        },
        "scores": evaluation and {**evaluation["scores"], "floor": evaluation["floor"]},
        "model": registered and {k: registered[k] for k in ("name", "version", "alias", "uri")},
        "report": folder and str(folder / REPORT),
        "grid": folder and str(folder / SAMPLE_GRID),
    }
