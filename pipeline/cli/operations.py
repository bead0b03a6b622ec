"""Commands for whoever operates it: status, reap, gc, models, promote, rollback."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from pipeline.cli.app import (
    AsJson,
    WorkspaceOption,
    app,
    command_output,
    console,
    errors,
    errors_as_exit_codes,
)
from pipeline.core.errors import UserError
from pipeline.storage.workspace import Workspace

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the registered model.")]


@app.command()
def status(
    workspace: WorkspaceOption = "runs",
    last: Annotated[int, typer.Option(min=1, max=10_000, help="Number of runs, the newest.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Say what the newest runs do or have come to, whatever ended them."""
    with command_output(as_json) as emit:
        from pipeline.cli.display import print_states
        from pipeline.tracking import runs

        states = runs.states(Workspace.parse(workspace).local, last)
        emit({"runs": [asdict(state) for state in states]}, print_states, states)


@app.command()
def reap(workspace: WorkspaceOption = "runs", as_json: AsJson = False) -> None:
    """Close runs that say RUNNING though their process is gone as KILLED."""
    with command_output(as_json) as emit:
        from pipeline.cli.display import print_states
        from pipeline.tracking import runs

        dead = runs.reap(Workspace.parse(workspace).local)
        emit({"reaped": [asdict(state) for state in dead]}, print_states, dead)


@app.command()
def gc(
    workspace: WorkspaceOption = "runs",
    delete: Annotated[bool, typer.Option("--delete", help="Remove them, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List stage outputs and trainings that no run refers to any more, with their sizes."""
    with command_output(as_json) as emit:
        from pipeline.workflow.cleanup import garbage, remove

        storage, folders = Workspace.parse(workspace), []
        for item in garbage(storage):
            try:
                if delete:
                    remove(storage, item)
            except UserError as reason:
                errors.print(f"stays: {escape(str(reason))}", highlight=False, soft_wrap=True)
                continue
            folders.append(asdict(item))
            if not as_json:
                console.print(f"{item.bytes / 1e6:10,.1f} MB  {item.path}", highlight=False)
        total = sum(item["bytes"] for item in folders)
        emit({"folders": folders, "bytes": total, "deleted": delete})
        if not as_json:
            done = "removed" if delete else "no run refers to; --delete removes them"
            console.print(f"{len(folders)} folders, {total / 1e6:,.1f} MB: {done}", highlight=False)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None,
    workspace: WorkspaceOption = "runs",
    as_json: AsJson = False,
) -> None:
    """List registered versions: aliases, scores and why they are what they are."""
    with command_output(as_json) as emit:
        from pipeline.cli.display import print_versions
        from pipeline.registry import registry

        versions = registry.versions(Workspace.parse(workspace).local, name)
        emit({"versions": versions}, print_versions, versions)


@app.command()
def promote(
    name: Name,
    version: Annotated[int, typer.Argument(min=1)],
    workspace: WorkspaceOption = "runs",
) -> None:
    """Make a version champion whatever the gate said; the present one becomes previous_champion."""
    with errors_as_exit_codes():
        from pipeline.registry import aliases

        aliases.promote(Workspace.parse(workspace).local, name, str(version))
        console.print(f"version {version} of {name} is champion", highlight=False)


@app.command()
def rollback(name: Name, workspace: WorkspaceOption = "runs") -> None:
    """Make the previous champion champion again; the gate does not bring the present one back."""
    with errors_as_exit_codes():
        from pipeline.registry import aliases

        after, before = aliases.rollback(Workspace.parse(workspace).local, name)
        console.print(f"version {after} of {name} is champion again, not {before}", highlight=False)
