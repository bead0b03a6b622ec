"""People move or delete aliases, versions and tags beside bngan: commands go on, and say so."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.core.errors import UserError
from pipeline.registry import aliases, changes, registry, removal
from pipeline.registry.aliases import Opponent, Verdict
from pipeline.registry.changes import CHALLENGER, CHAMPION, PREVIOUS, Change
from pipeline.tracking import runs
from pipeline.tracking.tracker import Tracker, existing_client, versions_of
from tests.commands import bngan
from tests.registration import NAME, register
from tests.unit.serving.test_server import tiny
from tests.workspaces import copy_workspace


def enter(workspace: Path, identity: str, fid: float) -> tuple[str, Verdict]:
    return judged(workspace, register(workspace, identity, fid, identity), fid)


def judged(workspace: Path, number: str, fid: float) -> tuple[str, Verdict]:
    def judge(opponent: Opponent) -> Verdict:
        theirs = float(registry.tags_of(workspace, NAME, opponent.number)["fid"])
        return Verdict(fid < theirs, f"{fid} against {opponent}")

    return aliases.assign_alias(workspace, NAME, number, judge, print)


@pytest.fixture(scope="module")
def two_champions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make version 2 champion, version 1 the one before, and version 3 challenger."""
    workspace = tmp_path_factory.mktemp("registry") / "workspace"
    (workspace / "generator").mkdir(parents=True)
    tiny().save(workspace / "generator")
    for identity, fid in (("first", 6.0), ("second", 5.0), ("third", 5.5)):
        enter(workspace, identity, fid)
    return workspace


@pytest.fixture
def workspace(two_champions: Path, tmp_path: Path) -> Path:
    return copy_workspace(two_champions, tmp_path / "workspace")


@pytest.fixture
def client(workspace: Path) -> MlflowClient:
    return existing_client(workspace)


def held(client: MlflowClient) -> dict[str, str]:
    return changes.aliases(client, NAME)


@pytest.mark.parametrize("deleted", [True, False])
def test_without_a_champion_the_one_before_is_to_beat(
    workspace: Path, client: MlflowClient, deleted: bool
) -> None:
    if deleted:
        client.delete_model_version(NAME, "2")
    else:
        client.delete_registered_model_alias(NAME, CHAMPION)
    alias, verdict = enter(workspace, "bad", 7.0)
    assert (alias, verdict.reason) == (CHALLENGER, "7.0 against previous champion version 1")
    assert CHAMPION not in held(client)
    alias, verdict = enter(workspace, "good", 4.0)
    assert (alias, verdict.reason) == (CHAMPION, "4.0 against previous champion version 1")
    assert held(client) == {CHAMPION: "5", PREVIOUS: "1", CHALLENGER: "4"}


def test_with_nothing_to_beat_a_version_is_refused_unless_it_is_the_first(
    workspace: Path, client: MlflowClient
) -> None:
    for alias in (CHAMPION, PREVIOUS):
        client.delete_registered_model_alias(NAME, alias)
    alias, verdict = enter(workspace, "new", 0.1)
    refused = "there is no champion to compare it with: bngan promote gan 4 makes it champion"
    assert (alias, verdict.reason) == (CHALLENGER, refused)
    aliases.promote(workspace, NAME, "4", print)
    assert held(client) == {CHAMPION: "4"}
    for number in "1234":
        client.delete_model_version(NAME, number)
    assert enter(workspace, "anew", 9.0) == (CHAMPION, Verdict(True, "first version"))


def test_a_version_that_a_person_has_rolled_back_is_no_measure(
    workspace: Path, client: MlflowClient
) -> None:
    aliases.rollback(workspace, NAME, print)
    client.delete_model_version(NAME, "1")
    assert held(client) == {PREVIOUS: "2", CHALLENGER: "3"}
    alias, verdict = enter(workspace, "new", 0.1)
    assert (alias, verdict.reason.split(":")[0]) == (
        CHALLENGER,
        "there is no champion to compare it with",
    )


@pytest.mark.parametrize("gone", ["before", "meanwhile", "load fails"])
def test_a_champion_that_is_deleted_while_the_gate_judges_is_no_licence(
    workspace: Path, client: MlflowClient, gone: str
) -> None:
    number, seen = register(workspace, "new", 0.1, "new"), list[str]()

    def judge(opponent: Opponent) -> Verdict:
        seen.append(str(opponent))
        if len(seen) == 1:
            client.delete_model_version(NAME, "2")
            if gone == "load fails":
                raise UserError("cannot load models:/gan/2")
        return Verdict(False, "worse")

    if gone == "before":
        seen.append("champion version 2")
        client.delete_model_version(NAME, "2")
    alias, _ = aliases.assign_alias(workspace, NAME, number, judge, print)
    assert (alias, seen) == (CHALLENGER, ["champion version 2", "previous champion version 1"])


def test_an_error_of_the_gate_is_raised(workspace: Path) -> None:
    def judge(_: Opponent) -> Verdict:
        raise UserError("no space left")

    number = register(workspace, "new", 0.1, "new")
    with pytest.raises(UserError, match="no space left"):
        aliases.assign_alias(workspace, NAME, number, judge, print)


def test_a_registration_that_died_before_its_verdict_is_no_champion_lost(tmp_path: Path) -> None:
    (tmp_path / "generator").mkdir()
    tiny().save(tmp_path / "generator")
    register(tmp_path, "died", 5.0, "died")
    assert enter(tmp_path, "next", 9.0) == (CHAMPION, Verdict(True, "first version"))
    assert judged(tmp_path, "1", 5.0)[0] == CHAMPION


def test_the_champions_generator_registered_again_is_not_drawn_from(
    workspace: Path, client: MlflowClient
) -> None:
    number = register(workspace, "second again", 1.0, "second again")
    client.set_model_version_tag(NAME, number, aliases.GENERATOR, "second")
    alias, verdict = judged(workspace, number, 1.0)
    assert (alias, verdict.reason) == (
        CHALLENGER,
        "is the same generator as champion version 2: "
        "bngan promote gan 4 makes it champion all the same",
    )


def test_rollback_after_the_champion_is_deleted(workspace: Path, client: MlflowClient) -> None:
    client.delete_model_version(NAME, "2")
    assert aliases.rollback(workspace, NAME, print) == ("1", None)
    assert held(client) == {CHAMPION: "1", CHALLENGER: "3"}
    with pytest.raises(UserError, match="gan has no previous champion to go back to"):
        aliases.rollback(workspace, NAME, print)


def test_there_is_no_way_back_to_the_champion_itself(workspace: Path, client: MlflowClient) -> None:
    client.set_registered_model_alias(NAME, PREVIOUS, "2")
    with pytest.raises(UserError, match="gan has no previous champion to go back to"):
        aliases.rollback(workspace, NAME, print)
    assert aliases.ROLLED_BACK not in client.get_model_version(NAME, "2").tags


def test_what_cannot_be_removed_of_a_killed_registration_stays(
    workspace: Path,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("DeleteObject is denied")

    monkeypatch.setattr(removal, "delete_files", refused)
    experiment = Tracker(workspace, "experiment").experiment_id
    left = client.create_logged_model(experiment, "generator", tags={"bngan.made_for": NAME})
    assert register(workspace, "new", 4.0, "new") == "4"
    told = capsys.readouterr().out
    assert told.startswith("what a killed registration has left stays: file:")
    assert told.endswith("DeleteObject is denied\n")
    assert client.get_logged_model(left.model_id).model_id == left.model_id


def test_a_champion_whose_alias_was_deleted_and_restored(
    workspace: Path, client: MlflowClient
) -> None:
    client.delete_registered_model_alias(NAME, CHAMPION)
    client.set_registered_model_alias(NAME, CHAMPION, "2")
    assert enter(workspace, "new", 4.0)[0] == CHAMPION
    assert aliases.rollback(workspace, NAME, print) == ("2", "4")


def _intent(**edits: Any) -> str:
    change = Change("promote", {CHAMPION: "2", PREVIOUS: "1"}, {CHAMPION: "1", PREVIOUS: "2"}, {})
    return json.dumps(asdict(change) | edits)


ALTERED = {
    "": "cannot be read",
    "null": "cannot be read",
    "[]": "cannot be read",
    "{}": "cannot be read",
    "champion": "cannot be read",
    '{"champion": "1", "previous_champion": "2"}': "cannot be read",
    "[" * 50_000: "cannot be read",
    _intent(moves={CHAMPION: 1}): "cannot be read",
    _intent(moves=[CHAMPION]): "cannot be read",
    _intent(moves={"latest": "1"}): "it moves the alias 'latest'",
    _intent(moves={CHAMPION: "one"}): "there is no version 'one'",
    _intent(moves={CHAMPION: "99"}): "there is no version '99'",
    _intent(tags={"1": {"mlflow.user": "me"}}): "it sets the tag 'mlflow.user'",
    _intent(tags={"1": {"bngan.reason": 1}}): "cannot be read",
    _intent(start={}): "champion is version 2 meanwhile",
    _intent(start={CHAMPION: "7", PREVIOUS: "1"}): "champion is version 2 meanwhile",
    _intent(by="me"): "cannot be read",
}


@pytest.mark.parametrize("text", ALTERED)
def test_a_change_under_way_that_somebody_has_altered_is_dropped(
    workspace: Path, client: MlflowClient, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before, tags = held(client), client.get_model_version(NAME, "1").tags
    client.set_model_version_tag(NAME, "1", "bngan.change", text)
    with aliases.registry_lock(workspace, NAME, print):
        pass
    told = capsys.readouterr().out
    assert told.startswith("gan: a change that was interrupted is dropped: ")
    assert (ALTERED[text] in told, len(told) < 400, told.count("\n")) == (True, True, 1)
    assert (held(client), client.get_model_version(NAME, "1").tags) == (before, tags)


def test_a_change_is_completed_unless_somebody_has_moved_its_aliases(
    workspace: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = {"1": {"bngan.reason": "promoted by hand", aliases.GATE: None}, "99": {"bngan.x": "y"}}
    client.set_model_version_tag(NAME, "1", "bngan.change", _intent(tags=tags))
    client.set_registered_model_alias(NAME, CHAMPION, "1")  # and here it was killed
    with aliases.registry_lock(workspace, NAME, print):
        assert held(client) == {CHAMPION: "1", PREVIOUS: "2", CHALLENGER: "3"}
    assert client.get_model_version(NAME, "1").tags["bngan.reason"] == "promoted by hand"
    completed = "gan: a change that was interrupted is completed (promote 1)\n"
    assert capsys.readouterr().out == completed
    client.set_model_version_tag(NAME, "1", "bngan.change", _intent())
    client.set_registered_model_alias(NAME, PREVIOUS, "3")
    with aliases.registry_lock(workspace, NAME, print):
        assert held(client) == {CHAMPION: "1", PREVIOUS: "3", CHALLENGER: "3"}
    assert "previous_champion is version 3 meanwhile" in capsys.readouterr().out


def test_what_an_earlier_bngan_had_begun_is_dropped(
    workspace: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.set_registered_model_tag(NAME, "bngan.aliases", '{"champion": "1"}')
    with aliases.registry_lock(workspace, NAME, print):
        assert held(client)[CHAMPION] == "2"
    assert "an earlier bngan began it" in capsys.readouterr().out
    assert client.get_registered_model(NAME).tags == {}


NONSENSE = ("", "none", "nan", "1e999", "[]", '{"pid": "x"}', '{"pid": -1}', "\x1b[2J", "x" * 5000)


@pytest.mark.parametrize("text", NONSENSE)
def test_tags_that_a_person_has_edited_end_no_command(
    workspace: Path, client: MlflowClient, text: str
) -> None:
    for number in "12":
        for key in client.get_model_version(NAME, number).tags:
            if not key.startswith("mlflow."):
                client.set_model_version_tag(NAME, number, key, text)
    run_id = Tracker(workspace, "experiment").start("run", {"bngan.kind": "pipeline"})
    for key in ("bngan.process", "bngan.heartbeat", "uses.prepare", "stage.train"):
        client.set_tag(run_id, key, text)
    listed = registry.versions(workspace, None)
    assert [(v["version"], v["fid"]) for v in listed] == [("3", 5.5), ("2", None), ("1", None)]
    newest = runs.states(workspace)[0]
    assert (newest.run_id, newest.state, newest.process) == (run_id, "running", "unknown")
    assert runs.reap(workspace) == []
    for command in ("status", "models", "gc"):
        bngan(command, f"--workspace={workspace}")
        bngan(command, f"--workspace={workspace}", "--json")


def test_versions_of_other_tools_are_listed_and_no_licence(
    workspace: Path, client: MlflowClient
) -> None:
    for version in versions_of(client, NAME):
        for key in version.tags:
            client.delete_model_version_tag(NAME, str(version.version), key)
        client.update_model_version(NAME, str(version.version), "edited")
    for alias in (CHAMPION, PREVIOUS):
        client.delete_registered_model_alias(NAME, alias)
    bngan("models", f"--workspace={workspace}")
    assert enter(workspace, "new", 0.1)[0] == CHALLENGER
