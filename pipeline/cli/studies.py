"""Commands that train many times to answer a question: study."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import AsJson, Overrides, app, command_output, errors, print_stderr
from pipeline.cli.signals import terminate_as_exit


@app.command()
def study(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file of the study.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train a study's arms from the same seeds, and say what differs by more than chance.

    What is done is not done again: after an interruption, or for more seeds.
    """
    continues = "the same command goes on with the trials that are left"
    with command_output(as_json, continues) as emit:
        from pipeline.cli.display import ConsoleDisplay, print_lines
        from pipeline.studies.design import load_study
        from pipeline.studies.run import run_study

        asked = load_study(file, overrides or [], print_stderr)
        with closing(ConsoleDisplay(errors)) as display, terminate_as_exit():
            findings = run_study(asked, display)
        report = findings.folder / "report.html"
        record = {"run_id": findings.run_id, "findings": findings.sentences, "arms": findings.rows}
        counts = f"{findings.trained} trainings, {findings.found} found; report: {report}"
        emit(record | {"report": str(report)}, print_lines, *findings.sentences, counts)
