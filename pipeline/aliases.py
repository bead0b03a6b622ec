"""Who is champion: aliases of a registered model, moved by one process at a time, never half."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.errors import UserError
from pipeline.lock import hold
from pipeline.tracking import existing_client

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous_champion"
ROLLED_BACK, CROWNED = "bngan.rolled_back", "bngan.crowned"
"""Tags of versions: when a person took it back, and when it last became champion by promotion."""
_INTENT = "bngan.aliases"
_PATIENCE = 600.0


@dataclass(frozen=True)
class Verdict:
    """Whether a version is to be champion, why, and what that was read from (JSON values)."""

    promote: bool
    reason: str
    details: dict[str, Any] = field(default_factory=dict)


@contextmanager
def alone_with(workspace: Path, name: str) -> Iterator[MlflowClient]:
    """The registry, with nobody else at the model ``name`` from this workspace.

    What a killed process had begun to move is moved first.
    """
    with hold(workspace / "locks" / f"model-{name}", f"the registration of {name}", _PATIENCE):
        client = existing_client(workspace)
        _finish(client, name)
        yield client


def aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """Version numbers by alias; empty if there is no such model."""
    try:
        found = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {alias: str(number) for alias, number in found.items()}


def enter(
    workspace: Path, name: str, number: str, judge: Callable[[str], Verdict]
) -> tuple[str, Verdict]:
    """Make a version champion or challenger; the alias it has then, and why.

    ``judge`` is given the champion's number. It may take its time: nobody waits for it, and if there
    is another champion afterwards it is asked again. A version that a person has rolled back is not
    judged: only a person promotes it.
    """
    client = existing_client(workspace)
    while True:
        seen = aliases(client, name).get(CHAMPION)
        verdict = _foregone(client, name, number, seen) or judge(str(seen))
        with alone_with(workspace, name):
            now = aliases(client, name)
            if now.get(CHAMPION) != seen:
                continue
            if verdict.promote:
                _crown(client, name, number, now)
            else:
                _move(client, name, {CHALLENGER: number})
            if seen != number:
                _record(client, name, number, verdict)
            return CHAMPION if verdict.promote else CHALLENGER, verdict


def promote(workspace: Path, name: str, number: str) -> None:
    """Make a version champion because a person says so.

    Raises:
        UserError: if there is no such version.
    """
    with alone_with(workspace, name) as client:
        version = _version(client, name, number)
        if ROLLED_BACK in version.tags:
            client.delete_model_version_tag(name, number, ROLLED_BACK)
        _crown(client, name, number, aliases(client, name))
        _record(client, name, number, Verdict(True, "promoted by hand"))


def rollback(workspace: Path, name: str) -> tuple[str, str]:
    """Let champion and previous champion change places; their numbers, the new champion's first.

    Raises:
        UserError: if there is none to go back to.
    """
    with alone_with(workspace, name) as client:
        now = aliases(client, name)
        if CHAMPION not in now or PREVIOUS not in now:
            raise UserError(f"{name} has no previous champion to go back to")
        after, before = now[PREVIOUS], now[CHAMPION]
        client.set_model_version_tag(name, before, ROLLED_BACK, _now())
        _move(client, name, {CHAMPION: after, PREVIOUS: before})
        _record(client, name, after, Verdict(True, f"rolled back from version {before}"))
        return after, before


def _foregone(client: MlflowClient, name: str, number: str, champion: str | None) -> Verdict | None:
    if champion is None:
        return Verdict(True, "first version")
    if champion == number:
        return Verdict(True, "is the champion already")
    if ROLLED_BACK in _version(client, name, number).tags:
        return Verdict(False, f"was rolled back: bngan promote {name} {number} brings it back")
    return None


def _crown(client: MlflowClient, name: str, number: str, now: Mapping[str, str]) -> None:
    if now.get(CHAMPION) == number:
        return
    moves: dict[str, str | None] = {CHAMPION: number}
    if CHAMPION in now:
        moves[PREVIOUS] = now[CHAMPION]
    if now.get(CHALLENGER) == number:
        moves[CHALLENGER] = None
    client.set_model_version_tag(name, number, CROWNED, _now("microseconds"))
    _move(client, name, moves)


def _move(client: MlflowClient, name: str, moves: Mapping[str, str | None]) -> None:
    """All of ``moves`` or, if killed, by whoever comes next."""
    client.set_registered_model_tag(name, _INTENT, json.dumps(moves))
    _finish(client, name)


def _finish(client: MlflowClient, name: str) -> None:
    try:
        intent = client.get_registered_model(name).tags.get(_INTENT)
    except MlflowException:  # not registered yet
        return
    for alias, number in json.loads(intent or "{}").items():
        if number is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, number)
    if intent:
        client.delete_registered_model_tag(name, _INTENT)


def _record(client: MlflowClient, name: str, number: str, verdict: Verdict) -> None:
    said = {
        "bngan.decision": "champion" if verdict.promote else "challenger",
        "bngan.reason": verdict.reason,
        "bngan.decided": _now(),
    }
    for key, value in said.items():
        client.set_model_version_tag(name, number, key, value)


def _version(client: MlflowClient, name: str, number: str) -> Any:
    try:
        return client.get_model_version(name, number)
    except MlflowException as error:
        raise UserError(f"there is no version {number} of {name}") from error


def _now(precision: str = "seconds") -> str:
    return datetime.now(UTC).isoformat(timespec=precision)
