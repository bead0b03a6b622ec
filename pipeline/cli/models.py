"""Commands on registered models: sample, evaluate, compare."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.app import (
    AsJson,
    ModelUri,
    ProtocolName,
    Workspace,
    app,
    console,
    errors,
    errors_as_exit_codes,
    stdout,
)
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.scoring import Tell


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
    with errors_as_exit_codes():
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
    as_json: AsJson = False,
) -> None:
    """Score a registered generator again, on the real images whose features it carries."""
    with errors_as_exit_codes(), stdout(as_json) as emit:
        from pipeline.display import print_scores
        from pipeline.scoring import evaluate_model

        with _progress("evaluate") as tell:
            record = evaluate_model(workspace.absolute(), model, protocol, images, tell)
        emit(record)
        if not as_json:
            print_scores(console, record)


@app.command()
def compare(
    first: ModelUri,
    second: ModelUri,
    protocol: ProtocolName = None,
    workspace: Workspace = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Compare two registered generators, on the first one's real images and from the same latents."""
    with errors_as_exit_codes(), stdout(as_json) as emit:
        from pipeline.display import print_comparison
        from pipeline.scoring import compare_models

        with _progress("compare") as tell:
            measured_by, found = compare_models(workspace.absolute(), first, second, protocol, tell)
        scores = {name: pair._asdict() for name, pair in found.items()}
        emit({"protocol": measured_by.name, "scores": scores})
        if not as_json:
            print_comparison(console, (first, second), measured_by, found)


@contextmanager
def _progress(what: str) -> Iterator["Tell"]:
    """Tells a person on standard error how far it is."""
    from pipeline.display import ConsoleDisplay

    display = ConsoleDisplay(errors)
    try:
        yield partial(display.progress, what)
    finally:
        display.close()
