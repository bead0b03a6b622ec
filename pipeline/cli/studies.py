"""Commands that train many times to answer a question: study."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pipeline.cli.app import (
    AsJson,
    Overrides,
    app,
    console,
    errors,
    errors_as_exit_codes,
    say,
    stdout,
)


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
    with errors_as_exit_codes(continues), stdout(as_json) as emit:
        from pipeline.cli.display import ConsoleDisplay
        from pipeline.studies.design import load_study
        from pipeline.studies.run import run_study
        from pipeline.tracking.runs import terminate_as_exit

        asked = load_study(file, overrides or [], say)
        display = ConsoleDisplay(errors)
        try:
            with terminate_as_exit():
                found = run_study(asked, display)
        finally:
            display.close()
        report = found.folder / "report.html"
        told = {"run_id": found.run_id, "findings": found.sentences, "arms": found.rows}
        emit(told | {"report": str(report)})
        if not as_json:
            for text in found.sentences:
                console.print(escape(text), highlight=False, soft_wrap=True)
            counts = f"{found.trained} trainings, {found.found} found; report: {report}"
            console.print(counts, highlight=False, soft_wrap=True)
