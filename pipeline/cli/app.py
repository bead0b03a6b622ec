"""What all commands share: the application, its options, and how mistakes become exit codes."""

import atexit
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bngan import __version__
from bngan.serialization.problem import visible
from pipeline.cli.terminal import Terminal
from pipeline.core import output
from pipeline.core.environment import inside_a_job, require_utf8, set_defaults
from pipeline.core.errors import RetryableError, UserError, root_cause_line
from pipeline.core.uris import redact

app = typer.Typer(
    help="Train GANs with batch normalisation: data, training, scores and registry in one command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console, errors = Terminal(), Terminal(stderr=True)
_DEBUG = "BNGAN_DEBUG"
"""Environment variable: tracebacks, please."""
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the experiment.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Replace values of the file: train.lr=1e-3."),
]
AllowMismatch = Annotated[
    bool, typer.Option("--allow-mismatch", help="Go on with what other code or versions began.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
]
ModelUri = Annotated[
    str, typer.Argument(metavar="MODEL_URI", help="Such as models:/bngan-digits@champion.")
]
ProtocolName = Annotated[
    str | None,
    typer.Option(help="Such as fid1k_test: fewer of the images the model was scored on."),
]
WorkspaceOption = Annotated[
    str,
    typer.Option(help="Folder or URI; the registry is there, unless MLFLOW_TRACKING_URI says."),
]


def main() -> None:
    """Run ``bngan`` as a process of its own."""
    require_utf8()
    output.install()
    try:
        app(prog_name="bngan")
    except SystemExit as ended:
        try:
            with errors_as_exit_codes():
                output.raise_if_missed(output.lost_result())
        except typer.Exit as missed:
            sys.exit(ended.code or missed.exit_code)
        raise


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(f"bngan {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _before_any_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error came from; before the command.")
    ] = False,
) -> None:
    set_defaults()
    if debug:
        os.environ[_DEBUG] = "1"
    # Imports make many objects and hardly any garbage. Looking for it took a third of a command's time:
    # each 700 objects, and among all modules at the end, when the system takes everything anyway.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)


@contextmanager
def errors_as_exit_codes(interrupted: str = "") -> Iterator[None]:
    """One line on standard error, and the exit code that the documentation gives.

    2: what the user has to mend, a line for each problem. 3: it failed, and the same again may work.
    130: Ctrl-C. 143: SIGTERM. ``interrupted`` is what a person is told then.
    """
    try:
        yield
    except UserError as error:
        for line in redact(str(error)).splitlines():
            errors.print(f"[red]error:[/] {escape(line)}", highlight=False, soft_wrap=True)
        raise typer.Exit(3 if isinstance(error, RetryableError) else 2) from None
    except KeyboardInterrupt:
        print_stderr("interrupted", interrupted)
        raise typer.Exit(130) from None
    except SystemExit:
        print_stderr("terminated", interrupted)
        raise
    except typer.Exit:
        raise
    except PermissionError as error:
        _print_traceback(error)
        line = f"{root_cause_line(error)}: let its owner open it to you, or take another place"
        errors.print(f"[red]error:[/] {escape(redact(line))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except Exception as error:
        _print_traceback(error)
        line = f"{escape(redact(root_cause_line(error)))}; bngan --debug COMMAND shows where"
        errors.print(f"[red]failed:[/] {line}", highlight=False, soft_wrap=True)
        print_stderr(interrupted)
        raise typer.Exit(3) from None


def _print_traceback(error: Exception) -> None:
    """Print where an error came from, under ``--debug`` and in a job, whose log is all that is left."""
    if os.environ.get(_DEBUG) or inside_a_job():
        for traced in redact("".join(traceback.format_exception(error))).splitlines():
            print_stderr(traced)


def print_stderr(*parts: str) -> None:
    """A line on standard error, if there is any."""
    if line := "; ".join(filter(None, parts)):
        # rich, interrupted while it prints, prints it again
        typer.echo(visible(line), err=True)


@contextmanager
def command_output(as_json: bool, interrupted: str = "") -> Iterator[Callable[..., None]]:
    """Yield ``emit(value, printer, *given)``, with ``errors_as_exit_codes`` around it.

    With ``as_json`` it prints ``value`` as JSON, and stderr gets all that others print on stdout.
    Without, it calls ``printer(console, *given)``, if it gets a printer.
    """
    with errors_as_exit_codes(interrupted):
        if not as_json:
            yield _emit_text
            return
        before = sys.stdout
        before.flush()
        saved = os.dup(1)
        os.dup2(2, 1)
        try:
            with redirect_stdout(sys.stderr):
                yield lambda value, *_: output.write_result(saved, f"{json.dumps(value)}\n")
        finally:
            before.flush()  # a logger may have kept it
            os.dup2(saved, 1)
            os.close(saved)


def _emit_text(_: object, printer: Callable[..., None] | None = None, *given: object) -> None:
    if printer:
        printer(console, *given)
