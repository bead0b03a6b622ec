"""A process that dies at any write to the registry: the next command ends as undisturbed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.lock import process_info
from pipeline.registry import aliases, registry
from pipeline.registry.aliases import Opponent, Verdict
from pipeline.tracking import life, runs
from pipeline.tracking.tracker import (
    PIPELINE,
    Tracker,
    all_runs,
    existing_client,
    logged_models,
    versions_of,
)
from tests.dying import Died, dying
from tests.registration import NAME, packaged
from tests.unit.serving.test_server import tiny
from tests.workspaces import copy_workspace

TIMES = (aliases.CROWNED, aliases.ROLLED_BACK, "bngan.decided", "bngan.model_id")
"""Tags of versions whose values differ from one registration to the next."""
Command = Callable[[Path], Any]


def enter(workspace: Path, identity: str, fid: float) -> tuple[str, Verdict]:
    """Register a version and judge it by its FID, as a run does."""
    tracker = Tracker(workspace, "experiment")
    package = packaged(workspace, identity, fid, identity)

    def judge(opponent: Opponent) -> Verdict:
        theirs = float(registry.tags_of(workspace, NAME, opponent.number)["fid"])
        return Verdict(fid < theirs, f"{fid} against {theirs}", {"draws": 8, "fid": fid})

    runs.reap(workspace)
    with runs.invocation(tracker, "gan", {"bngan.kind": PIPELINE}) as parent:
        run_id = tracker.start("register", {"stage": "register"}, parent)
        with runs.run_lifecycle(tracker, run_id):
            number = registry.register(workspace, run_id, NAME, package, print)
            return aliases.assign_alias(workspace, NAME, number, judge, print)


def better(workspace: Path) -> tuple[str, Verdict]:
    return enter(workspace, "better", 3.0)


def worse(workspace: Path) -> tuple[str, Verdict]:
    return enter(workspace, "worse", 9.0)


def promoted(workspace: Path) -> None:
    aliases.promote(workspace, NAME, "2", print)


def rolled_back(workspace: Path) -> tuple[str, str | None]:
    return aliases.rollback(workspace, NAME, print)


COMMANDS: list[tuple[Command, int]] = [(better, 1), (worse, 17), (promoted, 1), (rolled_back, 1)]
"""Commands, and the first write that is their own: registration is the same for all."""


@pytest.fixture(scope="module")
def three_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make version 3 champion, version 1 the one before, and version 2 challenger, rolled back."""
    workspace = tmp_path_factory.mktemp("registry") / "workspace"
    (workspace / "generator").mkdir(parents=True)
    tiny().save(workspace / "generator")
    enter(workspace, "first", 6.0)
    enter(workspace, "second", 5.0)
    rolled_back(workspace)
    enter(workspace, "third", 4.0)
    assert aliases.aliases(existing_client(workspace), NAME) == {
        "champion": "3",
        "previous_champion": "1",
    }
    return workspace


def state(workspace: Path) -> dict[str, Any]:
    """Return all that a person can see in the registry, but for times and ids."""
    client = existing_client(workspace)
    versions = {str(version.version): version for version in versions_of(client, NAME)}
    made = sorted(model.model_id for model in logged_models(client))
    return {
        "aliases": aliases.aliases(client, NAME),
        "model": dict(client.get_registered_model(NAME).tags),
        "versions": {
            number: (
                version.description,
                {key: key if key in TIMES else value for key, value in version.tags.items()},
            )
            for number, version in sorted(versions.items())
        },
        "unregistered models": set(made) - {v.tags["bngan.model_id"] for v in versions.values()},
        "models": [(m.status, "mlflow.modelVersions" in m.tags) for m in logged_models(client)],
        "running": [run.info.run_id for run in all_runs(client, "attributes.status = 'RUNNING'")],
    }


def undisturbed(workspace: Path, command: Command) -> tuple[dict[str, Any], Any, int]:
    """Return the state after a command, its answer, and the number of its writes."""
    with dying() as connections:
        answer = command(workspace)
    return state(workspace), answer, connections.writes


def die(workspace: Path, command: Command, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command in what looks like a process that dies at one of its writes."""
    with monkeypatch.context() as patch:
        patch.setattr(life, "process_info", lambda: {**process_info(), "pid": 2**22 + 1})
        with dying(at), pytest.raises(Died):
            command(workspace)


@pytest.mark.parametrize(("command", "first"), COMMANDS)
def test_the_same_command_again_ends_as_undisturbed(
    three_versions: Path,
    tmp_path: Path,
    command: Command,
    first: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, answer, writes = undisturbed(copy_workspace(three_versions, tmp_path / "0"), command)
    assert writes >= first + 7
    for at in range(first, writes + 1):
        workspace = copy_workspace(three_versions, tmp_path / str(at))
        die(workspace, command, at, monkeypatch)
        again = command(workspace)
        assert again == answer, f"write {at} of {writes}"
        runs.reap(workspace)
        assert state(workspace) == expected, f"write {at} of {writes}"


@pytest.mark.full
@pytest.mark.parametrize("command", [command for command, _ in COMMANDS])
def test_another_command_leaves_nothing_behind(
    three_versions: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, writes = undisturbed(copy_workspace(three_versions, tmp_path / "0"), command)
    for at in range(1, writes + 1, 3):
        workspace = copy_workspace(three_versions, tmp_path / str(at))
        die(workspace, command, at, monkeypatch)
        alias, _ = enter(workspace, "other", 8.0)
        after = state(workspace)
        assert (alias, after["aliases"]["challenger"]) == ("challenger", max(after["versions"]))
        assert (after["model"], after["running"], after["unregistered models"]) == ({}, [], set())
        for number, (_, tags) in after["versions"].items():
            assert "bngan.change" not in tags, f"write {at} of {writes}"
            if number == after["aliases"]["champion"]:
                assert tags["bngan.decision"] == "champion", f"write {at} of {writes}"
