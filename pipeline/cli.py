"""The command line: parses, calls, prints. What a command needs is imported when it runs."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from bngan import __version__
from pipeline.environment import set_defaults
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.workflow import RunResult

app = typer.Typer(
    help="Train GANs with batch normalisation: data, training, scores and registry in one command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console, errors = Console(), Console(stderr=True)
_CONTINUES = "the same command continues from the last checkpoint"

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the experiment.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Replace values of the file: train.lr=1e-3."),
]
ModelUri = Annotated[
    str, typer.Argument(metavar="MODEL_URI", help="Such as models:/bngan-digits@champion.")
]
ProtocolName = Annotated[
    str | None,
    typer.Option(help="Such as fid1k_test: fewer of the images the model was scored on."),
]
Workspace = Annotated[
    Path, typer.Option(help="Where the registry is, unless MLFLOW_TRACKING_URI says.")
]


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
) -> None:
    set_defaults()


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")
    ] = False,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Go on with what other code or versions began.")
    ] = False,
) -> None:
    """Bring an experiment up to date: prepare, reference, train, evaluate, register.

    Stages whose data, configuration and code are unchanged are not run again. Progress goes to
    standard error.
    """
    with _errors_as_exit_codes(), _stdout(as_json) as emit:
        settings = _load(config, overrides)
        # Only now: a mistake in the configuration should not wait for MLflow.
        from pipeline import workflow
        from pipeline.display import print_summary

        try:
            result = _bring_up_to_date(settings, allow_mismatch=allow_mismatch)
        except workflow.StageFailed as failure:
            emit(_as_json(failure.result))
            raise failure.cause from None
        emit(_as_json(result))
        if not as_json:
            print_summary(console, result, Path(settings.workspace))


@app.command()
def plan(config: ConfigFile, overrides: Overrides = None) -> None:
    """Say for every stage whether it would run, and why.

    Runs nothing; a new workspace gets its (empty) MLflow database.
    """
    with _errors_as_exit_codes():
        settings = _load(config, overrides)
        from pipeline import workflow
        from pipeline.display import print_plan

        print_plan(console, workflow.plan(settings))


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Take one training step on the workers and in one process, and say how far the two differ.

    Exit code 1 if by more than float64 rounds.
    """
    with _errors_as_exit_codes():
        settings = _load(config, overrides)
        from pipeline import workflow
        from pipeline.check import LIMIT, compare
        from pipeline.display import print_differences

        try:
            result = _bring_up_to_date(settings, until="prepare")
        except workflow.StageFailed as failure:
            raise failure.cause from None
        differences, workers = compare(settings, result.folders["prepare"])
        print_differences(console, differences, workers)
        if max(d.exact for d in differences) > LIMIT:
            raise typer.Exit(1)


@app.command()
def sample(
    model: ModelUri,
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG to write.")] = Path(
        "grid.png"
    ),
    truncation: Annotated[
        float, typer.Option(help="In (0, 1]: less variety, more typical images.")
    ] = 1.0,
    label: Annotated[
        int | None, typer.Option(min=0, help="Number of the class, if it was trained by class.")
    ] = None,
    workspace: Workspace = Path("runs"),
) -> None:
    """Write a grid of images from a registered generator, or a single image with --count 1."""
    with _errors_as_exit_codes():
        import numpy as np

        from bngan.images import png_bytes
        from pipeline import registry

        if output.is_dir():
            raise UserError(f"--output must be a file to write, and {output} is a folder")
        params = {"seed": seed, "truncation": truncation, "label": -1 if label is None else label}
        images = registry.generate(workspace.absolute(), model, np.arange(count), **params)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(png_bytes(images))
        console.print(
            f"{count} images of {model}, seed {seed}: {output}", highlight=False, markup=False
        )


@app.command()
def evaluate(
    model: ModelUri,
    protocol: ProtocolName = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Score the images in this folder instead, another tool's for instance."),
    ] = None,
    workspace: Workspace = Path("runs"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Score a registered generator again, on the real images whose features it carries."""
    with _errors_as_exit_codes(), _stdout(as_json) as emit:
        from pipeline.display import ConsoleDisplay, print_scores
        from pipeline.scoring import evaluate_model

        display = ConsoleDisplay(errors)
        try:
            record = evaluate_model(
                workspace.absolute(), model, protocol, images, partial(display.progress, "evaluate")
            )
        finally:
            display.close()
        emit(record)
        if not as_json:
            print_scores(console, record)


@app.command()
def compare(
    first: ModelUri,
    second: ModelUri,
    protocol: ProtocolName = None,
    workspace: Workspace = Path("runs"),
) -> None:
    """Compare two registered generators, on the first one's real images and from the same latents."""
    with _errors_as_exit_codes():
        from pipeline.display import ConsoleDisplay, print_comparison
        from pipeline.scoring import compare_models

        display = ConsoleDisplay(errors)
        tell = partial(display.progress, "compare")
        try:
            measured_by, found = compare_models(workspace.absolute(), first, second, protocol, tell)
        finally:
            display.close()
        print_comparison(console, (first, second), measured_by, found)


def _load(path: Path, overrides: list[str] | None) -> "Config":
    """Read the configuration and say what is doubtful about it."""
    from pipeline.config import load_config
    from pipeline.validation import warnings

    config = load_config(path, overrides or [])
    for warning in warnings(config):
        errors.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    return config


def _bring_up_to_date(config: "Config", **options: Any) -> "RunResult":
    from pipeline import workflow
    from pipeline.display import ConsoleDisplay

    display = ConsoleDisplay(errors)
    try:
        with workflow.terminate_as_exit():
            return workflow.run(config, display, **options)
    finally:
        display.close()


@contextmanager
def _errors_as_exit_codes() -> Iterator[None]:
    """2 and one line for what the user can mend, 130 for Ctrl-C, 1 and a traceback for the rest."""
    try:
        yield
    except UserError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        errors.print(f"interrupted; {_CONTINUES}")
        raise typer.Exit(130) from None
    except SystemExit:
        errors.print(f"terminated; {_CONTINUES}")
        raise
    except typer.Exit:
        raise
    except Exception as error:
        traceback.print_exception(error)
        raise typer.Exit(1) from None


@contextmanager
def _stdout(reserved: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that prints JSON. If ``reserved``, whatever else is printed goes to stderr."""
    if not reserved:
        yield lambda value: None
        return
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(saved, "w", closefd=False) as out:
            yield lambda value: print(json.dumps(value), file=out, flush=True)
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


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
        "report": folder and str(folder / "report.html"),
        "grid": folder and str(folder / "grid.png"),
    }
