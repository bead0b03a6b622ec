"""Commands on registered models: sample, serve, evaluate, compare, seen."""

from contextlib import closing
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import (
    AsJson,
    ModelUri,
    ProtocolName,
    WorkspaceOption,
    app,
    command_output,
    console,
    errors,
    errors_as_exit_codes,
)
from pipeline.core.errors import UserError
from pipeline.storage.workspace import Workspace


class Layout(Enum):
    """What a picture of many images shows."""

    GRID = "grid"
    CLASSES = "classes"
    INTERPOLATION = "interpolation"


@app.command()
def sample(
    model: ModelUri,
    count: Annotated[int, typer.Option(min=1, help="Number of images, or of rows.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="PNG to write; with --separately a folder.")
    ] = Path("grid.png"),
    truncation: Annotated[
        float, typer.Option(help="In (0, 1]: less variety, more typical images.")
    ] = 1.0,
    label: Annotated[
        str | None, typer.Option(help="Name or number of the class, if it was trained by class.")
    ] = None,
    what: Annotated[
        Layout, typer.Option("--as", help="A grid, a row per class, or rows from latent to latent.")
    ] = Layout.GRID,
    separately: Annotated[
        bool, typer.Option("--separately", help="A file for each image, at its own size.")
    ] = False,
    workspace: WorkspaceOption = "runs",
) -> None:
    """Write images of a registered generator: a picture of many, or a single one with --count 1."""
    with errors_as_exit_codes():
        from pipeline.cli.display import print_lines
        from pipeline.serving.samples import SampleRequest, write

        wanted = SampleRequest(count, seed, truncation, label, what.value, separately)
        lines = write(Workspace.parse(workspace).local, model, wanted, output)
        print_lines(console, *lines)


@app.command()
def serve(
    model: ModelUri,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5001,
    workspace: WorkspaceOption = "runs",
) -> None:
    """Serve a registered generator over HTTP, as mlflow models serve does, until Ctrl-C.

    Unlike there, a parameter that the model does not have is an error.
    """
    with errors_as_exit_codes():
        from pipeline.cli.display import print_lines
        from pipeline.serving import server as serving

        served = serving.application(Workspace.parse(workspace).local, model)
        with serving.listening(host, port) as address:
            print_lines(errors, f"{model} at http://{host}:{port}/invocations")
            serving.serve(served, address)


@app.command()
def evaluate(
    model: ModelUri,
    protocol: ProtocolName = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Score the images in this folder instead, another tool's for instance."),
    ] = None,
    workspace: WorkspaceOption = "runs",
    as_json: AsJson = False,
) -> None:
    """Score a registered generator again, on the real images whose features it carries."""
    with command_output(as_json) as emit:
        from pipeline.cli.display import ConsoleDisplay, print_scores
        from pipeline.evaluation.scoring import evaluate_model

        storage = Workspace.parse(workspace)
        with closing(ConsoleDisplay(errors)) as display:
            tell = partial(display.progress, "evaluate")
            record = evaluate_model(storage, model, protocol, images, tell)
        emit(record, print_scores, record)


@app.command()
def compare(
    first: ModelUri,
    second: ModelUri,
    protocol: ProtocolName = None,
    workspace: WorkspaceOption = "runs",
    as_json: AsJson = False,
) -> None:
    """Compare two registered generators, on the first one's real images and from the same latents."""
    with command_output(as_json) as emit:
        from pipeline.cli.display import ConsoleDisplay, print_comparison
        from pipeline.evaluation.comparison import compare_models

        storage = Workspace.parse(workspace)
        with closing(ConsoleDisplay(errors)) as display:
            tell = partial(display.progress, "compare")
            found = compare_models(storage, first, second, protocol, tell)
        scores = {name: pair._asdict() for name, pair in found.scores.items()}
        gate = found.gate and {"reason": found.gate.reason, **found.gate.details}
        value = {
            "protocol": found.protocol.name,
            "scores": scores,
            "gate": gate,
            **found.overlap.record(),
        }
        emit(value, print_comparison, (first, second), found)


@app.command()
def seen(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of images.")],
    workspace: WorkspaceOption = "runs",
    as_json: AsJson = False,
) -> None:
    """List the registered versions that were trained on images, or chosen or tested with them.

    An image counts if it is the same file, or has the same pixels once it is prepared.
    """
    with command_output(as_json) as emit:
        from pipeline.cli.display import print_seen
        from pipeline.evaluation.seen import versions_that_saw

        names = list(dict.fromkeys(map(str, files)))
        for name in names:
            _look(name)
        found, not_known, no_base = {}, {}, []
        for uri, places, base_known in versions_that_saw(Workspace.parse(workspace), names, _read):
            if isinstance(places, str):
                not_known[uri] = places
            else:
                found[uri] = places
                no_base += [] if base_known else [uri]
        value = {
            "images": {
                name: {uri: places[name] for uri, places in found.items() if places[name]}
                for name in names
            },
            "not_known": not_known,
            "base_not_known": no_base,
            "versions": len(found) + len(not_known),
        }
        emit(value, print_seen, value)


def _read(name: str) -> bytes:
    """Return the content of a file. Raise ``UserError`` if it cannot be read."""
    from bngan.data.source import read_content

    content = read_content(name)
    if isinstance(content, OSError):
        raise UserError(f"{name} cannot be read: {content.strerror or content}")
    return content


def _look(name: str) -> None:
    """Print a line if a file is no image: bngan then looks for the same file only."""
    from bngan.data.decoding import decode
    from pipeline.cli.display import print_lines

    try:
        decode(_read(name))
    except ValueError as error:
        print_lines(errors, f"{name} is no image ({error}): bngan looks for the same file only")
