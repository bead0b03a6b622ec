"""Commands that have something done elsewhere or later: submit, schedule."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.app import (
    AllowMismatch,
    ConfigFile,
    Overrides,
    app,
    console,
    errors,
    errors_as_exit_codes,
    print_stderr,
)
from pipeline.cli.signals import terminate_as_exit
from pipeline.core.errors import UserError
from pipeline.core.output import show

if TYPE_CHECKING:
    from pipeline.monitoring.schedule import Schedule


Address = Annotated[
    str,
    typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="Of the Ray dashboard; http or https."),
]


@app.command()
def submit(
    config: ConfigFile,
    overrides: Overrides = None,
    address: Address = "http://127.0.0.1:8265",
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Print its log to the end; its exit code is this one's."),
    ] = False,
    allow_mismatch: AllowMismatch = False,
) -> None:
    """Have a Ray cluster run an experiment, with this code; prints the job's id.

    The same again while it runs finds the job that runs; afterwards it begins another, which takes
    up what is done.
    """
    with errors_as_exit_codes():
        from pipeline.cli.display import print_lines
        from pipeline.cli.submission import submit_run

        submission = submit_run(config, overrides or [], address, allow_mismatch, print_stderr)
        _tell(submission.began, address)
        print_lines(console, submission.id)
    if follow:
        raise typer.Exit(_follow(address, submission.id))


@app.command()
def schedule(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file of the schedule.")],
    partition: Annotated[
        str | None,
        typer.Option(
            help="2026-11-24, 2026-11-01..2026-11-07 or 2026-11-24T03:00: do what was due."
        ),
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="With --partition: not on the cluster it names.")
    ] = False,
) -> None:
    """Evaluate a model's champion whenever it is due, until Ctrl-C; or with --partition what was.

    What has been done is not done again.
    """
    with errors_as_exit_codes():
        from datetime import UTC, datetime

        if here and partition is None:
            raise UserError("--here is for --partition: a schedule is kept where the command runs")
        from pipeline.monitoring.schedule import due, load_schedule
        from pipeline.monitoring.scheduler import keep

        kept = load_schedule(file, here)
        with terminate_as_exit():
            if partition is None:
                keep(file, kept, print_stderr)
                return
            partitions = due(kept, partition, datetime.now(UTC))
    codes = [_evaluate(file, kept, each) for each in partitions]
    if any(codes):
        raise typer.Exit(max(codes))


def _evaluate(file: Path, kept: "Schedule", partition: str) -> int:
    """Exit code of one partition; the others need not wait until it is mended."""
    try:
        if kept.address:
            return _submit_partition(file, kept, partition, kept.address)
        with errors_as_exit_codes(f"{partition} is not done"):
            _evaluate_here(kept, partition)
    except typer.Exit as ended:
        if ended.exit_code == 130:
            raise
        return ended.exit_code
    return 0


def _evaluate_here(kept: "Schedule", partition: str) -> None:
    from pipeline.cli.display import ConsoleDisplay, print_lines
    from pipeline.monitoring import drift

    with closing(ConsoleDisplay(errors)) as display, terminate_as_exit():
        verdict = drift.evaluate(kept, partition, partial(display.progress, "evaluate"))
    done = "" if verdict.new else " (done before)"
    print_lines(console, f"{partition} {verdict.drift}{done}: {verdict.reason}")


def _submit_partition(file: Path, kept: "Schedule", partition: str, address: str) -> int:
    with errors_as_exit_codes():
        from pipeline.cluster import jobs
        from pipeline.cluster.working_dir import FILE

        name = jobs.job_name(kept.name, kept.model, partition.replace(":", ""))
        command = ("schedule", FILE, "--partition", partition, "--here")
        submission = jobs.submit(jobs.Work(name, file, command, once=True), address)
        _tell(submission.began, address)
        print_stderr(submission.id)
    return _follow(address, submission.id)


def _tell(began: bool, address: str) -> None:
    print_stderr(f"{'submitted to' if began else 'there already, at'} {address}")


def _follow(address: str, job: str) -> int:
    from pipeline.cluster import jobs

    with errors_as_exit_codes(jobs.how_to_go_on(address, job)):
        return jobs.follow(address, job, show)
