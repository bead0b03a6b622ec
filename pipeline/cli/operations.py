"""Commands for whoever operates it: status, reap, gc, models, promote, rollback."""

from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

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
    print_stderr,
)
from pipeline.core.errors import RetryableError, UserError
from pipeline.core.uris import REGISTERED
from pipeline.storage.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.workflow.cleanup import Item

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the registered model.")]


@app.command()
def status(
    workspace: WorkspaceOption = "runs",
    last: Annotated[int, typer.Option(min=1, max=10_000, help="Number of runs, the newest.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Say what the newest runs do or have come to, whatever ended them."""
    with command_output(as_json) as emit:
        from pipeline.cli.display import print_status
        from pipeline.storage.upkeep import sizes
        from pipeline.tracking import runs

        storage = Workspace.parse(workspace)
        states = runs.states(storage.local, last)
        size = sizes(storage)
        found = {"runs": [asdict(state) for state in states], "bytes": size}
        emit(found, print_status, states, size)


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
    named: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER]...", help="Only these, whatever uses them: as gc prints them."
        ),
    ] = None,
    workspace: WorkspaceOption = "runs",
    delete: Annotated[bool, typer.Option("--delete", help="Remove them, too.")] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Also all but the newest N results of each experiment and stage, checkpoints of "
            "finished trainings and versions without an alias, and what these need.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List stage outputs and trainings that no run refers to any more, with their sizes.

    What another MLflow store uses, or may use, goes by its name only.
    """
    with command_output(as_json) as emit, ExitStack() as stack:
        from pipeline.cli.display import print_items
        from pipeline.workflow import retention

        if named and keep:
            raise UserError("--keep chooses folders by itself: name some, or give it")
        storage, blocked = Workspace.parse(workspace), list[str]()
        if delete:
            storage.check_writable()
        if delete and (keep or named):
            stack.enter_context(retention.no_command_at_work(storage))
        items, others = _chosen(storage, named or [], keep)
        if delete:
            items, blocked = _removed(storage, items, others, bool(named))
        which = "named" if named else f"beyond --keep {keep}" if keep else ""
        emit(_as_json(items, others, delete), print_items, items, others, delete, which)
        if blocked:
            _tell_stays(blocked)
            raise typer.Exit(2)


def _chosen(
    storage: Workspace, names: list[str], keep: int | None
) -> tuple[list["Item"], list["Item"]]:
    """Return what may go, and folders that go by name only; say what stays."""
    from pipeline.workflow import cleanup, retention

    if names:
        return cleanup.named(storage, names), []
    items, versions = cleanup.garbage(storage), list["Item"]()
    _tell_stays([f"{name} is a symbolic link" for name in cleanup.links(storage)])
    if keep:
        surplus = retention.surplus(storage, keep)
        items, versions = surplus.folders + items, surplus.versions
        _tell_stays(surplus.obstacles)
    ours, others = cleanup.divided(storage, items)
    return versions + ours, others


def _as_json(items: list["Item"], others: list["Item"], deleted: bool) -> dict[str, object]:
    kinds: dict[bool, list[object]] = {False: [], True: []}
    for item in items:
        kinds[item.path.startswith(REGISTERED)].append(asdict(item))
    total, left = sum(item.bytes for item in items), [asdict(item) for item in others]
    found = {"folders": kinds[False], "versions": kinds[True], "others": left}
    return {**found, "bytes": total, "deleted": deleted}


def _removed(
    storage: Workspace, items: list["Item"], others: list["Item"], named: bool
) -> tuple[list["Item"], list[str]]:
    """Remove items, and give others up; return those that are gone, and why some cannot be removed."""
    from pipeline.registry.removal import complete_removals
    from pipeline.workflow.cleanup import give_up, remove, remove_rest

    gone, blocked = list["Item"](), complete_removals(storage.local, print_stderr)
    for item in items:
        try:
            remove(storage, item, print_stderr, named)
            gone.append(item)
        except RetryableError as held:
            if named:
                raise
            _tell_stays([str(held)])
        except UserError as obstacle:
            blocked.append(str(obstacle))
    for item in others:
        give_up(storage, item)
    return gone, [*blocked, *remove_rest(storage)]


def _tell_stays(reasons: list[str]) -> None:
    for reason in reasons:
        errors.print(f"stays: {escape(reason)}", highlight=False, soft_wrap=True)


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
        from pipeline.cli.display import print_lines
        from pipeline.registry import aliases

        aliases.promote(Workspace.parse(workspace).local, name, str(version), print_stderr)
        print_lines(console, f"version {version} of {name} is champion")


@app.command()
def rollback(name: Name, workspace: WorkspaceOption = "runs") -> None:
    """Make the previous champion champion again; the gate does not bring the present one back."""
    with errors_as_exit_codes():
        from pipeline.cli.display import print_lines
        from pipeline.registry import aliases

        after, before = aliases.rollback(Workspace.parse(workspace).local, name, print_stderr)
        instead = f", not {before}" if before else ""
        print_lines(console, f"version {after} of {name} is champion again{instead}")
