"""Commands that have something done elsewhere or later: submit, schedule."""

from typing import Annotated

import typer
from rich.markup import escape

from pipeline.cli.app import ConfigFile, Overrides, app, console, errors, errors_as_exit_codes

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
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Go on with what other code or versions began.")
    ] = False,
) -> None:
    """Have a Ray cluster run an experiment, with this code; prints the job's id.

    The same again while it runs finds the job that runs; afterwards it begins another, which takes
    up what is done.
    """
    with errors_as_exit_codes():
        from pipeline import jobs

        submission = jobs.submit_run(config, overrides or [], address, allow_mismatch)
        _tell(submission.began, address)
        console.print(submission.id, highlight=False, markup=False, soft_wrap=True)
    if follow:
        raise typer.Exit(_follow(address, submission.id))


def _tell(began: bool, address: str) -> None:
    told = "submitted to" if began else "there already, at"
    errors.print(f"{told} {escape(address)}", highlight=False, soft_wrap=True)


def _follow(address: str, job: str) -> int:
    from pipeline import jobs

    with errors_as_exit_codes(jobs.how_to_go_on(address, job)):
        return jobs.follow(address, job)
