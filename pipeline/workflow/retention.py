"""Choose what a workspace can do without: all but the newest results, and what these need.

A result is what a stage has made, by the last invocation that made or found it. The newest of each
experiment and stage stay, with all outputs of the invocations that used them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from pipeline.core.errors import UserError
from pipeline.core.uris import redact
from pipeline.registry.changes import aliases
from pipeline.registry.removal import (
    owns_store,
    removable_files,
    uri_of,
    version_bytes,
)
from pipeline.storage.upkeep import at_work, reserved
from pipeline.storage.workspace import Workspace
from pipeline.tracking.mlflow_internals import MLFLOW_PARENT_RUN_ID
from pipeline.tracking.runs import died, process_of
from pipeline.tracking.tracker import (
    PIPELINE,
    all_runs,
    existing_client,
    experiment_names,
    models,
    open_store,
    versions_of,
)
from pipeline.workflow.cleanup import Item, Key, folders, key_of, uses_of, utc

_TRAINING = "training"
_KINDS = (PIPELINE, "study")
"""Kinds of runs that use folders of the workspace."""


@dataclass(eq=False)
class Invocation:
    """The run of one command, and the runs of the stages that it made or found."""

    experiment: str
    started: int = 0
    folders: set[Key] = field(default_factory=set)
    workspace: str = ""
    base: str = ""
    """The generator that it adapted, if it did."""


@dataclass(frozen=True)
class Surplus:
    """Hold what may go, and a line for each version that would but has an obstacle."""

    folders: list[Item]
    versions: list[Item]
    obstacles: list[str]


@contextmanager
def no_command_at_work(storage: Workspace) -> Iterator[None]:
    """Keep commands that use the workspace's folders waiting inside the block.

    Raises:
        RetryableError: if there is such a command, on this machine or another.
    """
    open_store(storage.local, writes=True)
    with reserved(storage):
        for run in all_runs(existing_client(storage.local), "attributes.status = 'RUNNING'"):
            ours = _workspace_of(run) in ("", redact(storage.workspace))
            if run.data.tags.get("bngan.kind") in _KINDS and ours and not died(run):
                raise at_work(storage, process_of(run))
        yield


def surplus(storage: Workspace, keep: int) -> Surplus:
    """Return the versions and folders beyond the newest ``keep`` that nothing kept needs."""
    client = existing_client(storage.local)
    runs = list(all_runs(client))
    by_run = _invocations(experiment_names(client), runs)
    invocations = set(by_run.values())
    versions = [v for model in models(client) for v in versions_of(client, model.name)]
    here = {key_of(folder): folder for folder in folders(storage)}
    stay, needed = _newest_or_named(client, versions, keep), _unfinished(runs)
    while True:
        kept, bases = newest(invocations, set(here), keep, needed | _registrations(stay))
        bases |= {version.tags.get("bngan.base", "") for version in stay.values()}
        named = {uri_of(v): v for v in versions if uri_of(v) in bases}
        trained = {key for base in bases if (key := _key_of_base(storage, base)) in here}
        if named.keys() <= stay.keys() and trained <= needed:
            break
        stay, needed = stay | named, needed | trained
    others = [version for version in versions if uri_of(version) not in stay]
    found = _removable(storage, client, others, by_run, keep)
    for key, folder in here.items():
        users = {inv.experiment for inv in invocations if key in inv.folders}
        if users and key not in kept:
            reason = _reason(key, users, keep)
            found.folders.append(Item.of_folder(storage, folder, reason))
    return found


def newest(
    invocations: Iterable[Invocation], here: set[Key], keep: int, needed: set[Key]
) -> tuple[set[Key], set[str]]:
    """Return the folders that stay, and the generators that their invocations adapted.

    Those are the newest ``keep`` of each experiment and kind and ``needed`` ones, each with all that
    the newest invocation that used it made or found; but of its training the outputs alone.
    """
    ranked, kept, bases = defaultdict[tuple[str, str], set[Key]](set), set[Key](), set[str]()
    missing = set(needed)
    for invocation in sorted(invocations, key=lambda each: -each.started):
        there = invocation.folders & here
        new = there & missing
        for key in sorted(there):
            rank = ranked[invocation.experiment, key[0]]
            if key not in rank and len(rank) < keep:
                rank.add(key)
                new.add(key)
        missing -= new
        if new:
            kept |= new | {key for key in there if key[0] != _TRAINING}
            bases.add(invocation.base)
    return kept, bases


def _invocations(names: Mapping[str, str], runs: Iterable[Run]) -> dict[str, Invocation]:
    """Return the invocation of each run; runs of stages belong to that of their parent."""
    found = dict[str, Invocation]()
    for run in runs:
        own = run.info.run_id
        parent = run.data.tags.get(MLFLOW_PARENT_RUN_ID, own)
        experiment = names.get(run.info.experiment_id, "")
        invocation = found.setdefault(parent, Invocation(experiment))
        found[own] = invocation
        invocation.started = max(invocation.started, run.info.start_time)
        invocation.folders |= uses_of(run)
        invocation.workspace = invocation.workspace or _workspace_of(run)
        invocation.base = invocation.base or run.data.params.get("adapt.base", "")
    return found


def _workspace_of(run: Run) -> str:
    return str(run.data.params.get("workspace", ""))


def _unfinished(runs: Iterable[Run]) -> set[Key]:
    """Return the trainings of which the last attempt was interrupted, failed, or is under way."""
    last = dict[str, str]()
    for run in sorted(runs, key=lambda run: int(run.info.start_time)):
        if name := run.data.tags.get(_TRAINING):
            last[name] = run.info.status
    return {(_TRAINING, name) for name, status in last.items() if status != "FINISHED"}


def _newest_or_named(
    client: MlflowClient, versions: Iterable[ModelVersion], keep: int
) -> dict[str, ModelVersion]:
    """Return, by address, the newest ``keep`` versions of each model and all with an alias."""
    by_name = defaultdict[str, list[ModelVersion]](list)
    for version in sorted(versions, key=lambda version: -int(version.version)):
        by_name[version.name].append(version)
    stay = dict[str, ModelVersion]()
    for name, its in by_name.items():
        held = set(aliases(client, name).values())
        stay |= {uri_of(v): v for v in its if v in its[:keep] or str(v.version) in held}
    return stay


def _registrations(versions: Mapping[str, ModelVersion]) -> set[Key]:
    """Return the outputs of ``register`` that made versions."""
    tags = (version.tags.get("bngan.fingerprint", "") for version in versions.values())
    return {("register", fingerprint[:16]) for fingerprint in tags}


def _key_of_base(storage: Workspace, base: str) -> Key | None:
    """Return the key of a base that is an output in this workspace, or a folder in one."""
    stages = storage.local / "stages"
    if not base or not Path(base).is_relative_to(stages):
        return None
    parts = Path(base).relative_to(stages).parts
    return (parts[0], parts[1]) if len(parts) > 1 else None


def _removable(
    storage: Workspace,
    client: MlflowClient,
    versions: Iterable[ModelVersion],
    by_run: Mapping[str, Invocation],
    keep: int,
) -> Surplus:
    """Return the versions whose files are their own and were made in this workspace."""
    found, foreign = Surplus([], [], []), 0
    for version in versions:
        made = by_run.get(str(version.run_id))
        ours = made is not None and made.workspace == redact(storage.workspace)
        if not (ours or owns_store(storage.local)):
            foreign += 1
            continue
        try:
            model = removable_files(storage.local, client, version)
            size = version_bytes(storage.local, model)
        except UserError as obstacle:
            found.obstacles.append(str(obstacle))
            continue
        reason = f"no alias, {_beyond({version.name}, keep)}"
        written = utc(version.creation_timestamp / 1000)
        found.versions.append(Item(uri_of(version), size, written, reason))
    if foreign:
        found.obstacles.append(f"{foreign} versions that were made in other workspaces")
    return found


def _reason(key: Key, users: set[str], keep: int) -> str:
    """Return in words why a folder may go, and what that means for its training."""
    lost = "finished; with more train.images it would start anew; " if key[0] == _TRAINING else ""
    return f"{lost}{_beyond(users, keep)}"


def _beyond(names: set[str], keep: int) -> str:
    first = "not the newest" if keep == 1 else f"not among the newest {keep}"
    return f"{first} of {', '.join(sorted(names))}"
