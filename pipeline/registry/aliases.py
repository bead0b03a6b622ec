"""Move the aliases of a registered model: one process at a time, all moves or none."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.core.errors import UserError
from pipeline.core.lock import exclusive_lock, make_private_dir
from pipeline.core.names import model_name_errors
from pipeline.tracking.tracker import existing_client, versions_of

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous_champion"
ROLLED_BACK, CROWNED = "bngan.rolled_back", "bngan.crowned"
"""Tags of versions: times of the last rollback by hand, and of the last promotion to champion."""
GENERATOR = "bngan.generator"
"""Tag of versions: digest of the generator, equal for all its versions."""
EXTRACTOR = "bngan.extractor"
"""Tag of versions: kind of the extractor that scored it; older versions have none."""
MISSING = "RESOURCE_DOES_NOT_EXIST"
"""MLflow's error code for a model or version that is not in the registry."""
_INTENT = "bngan.aliases"
_LOCK_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Verdict:
    """Say whether a version becomes champion, why, and from which numbers (JSON values)."""

    promote: bool
    reason: str
    details: dict[str, Any] = field(default_factory=dict)


@contextmanager
def registry_lock(workspace: Path, name: str) -> Iterator[MlflowClient]:
    """Lock the registered model ``name`` for this workspace, and yield a client.

    First complete the alias changes that a killed process had begun.
    """
    require_name(name)
    client = existing_client(workspace)
    lock = make_private_dir(workspace) / "locks" / f"model-{name}"
    with exclusive_lock(lock, f"model {name}", _LOCK_TIMEOUT_S):
        _finish(client, name)
        yield client


def require_name(name: str) -> None:
    """Raise ``UserError`` if a registered model cannot have this name."""
    for problem in model_name_errors("NAME", name):
        raise UserError(problem)


def aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """Return version numbers by alias; empty if there is no such model."""
    with suppressed(MISSING):
        held = client.get_registered_model(name).aliases
        return {alias: str(number) for alias, number in held.items()}
    return {}


@contextmanager
def suppressed(error_code: str) -> Iterator[None]:
    """Leave the block silently when MLflow raises an error of this code."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != error_code:
            raise


def assign_alias(
    workspace: Path, name: str, number: str, judge: Callable[[str], Verdict]
) -> tuple[str, Verdict]:
    """Make a version champion or challenger; return its alias and the verdict.

    ``judge`` takes the champion's number and runs without the lock. If the champion has changed when it
    returns, it judges again. A version that a person has rolled back is never promoted here.
    """
    client = existing_client(workspace)
    while True:
        seen = aliases(client, name).get(CHAMPION)
        verdict = _decided_already(client, name, number, seen) or judge(str(seen))
        with registry_lock(workspace, name):
            now = aliases(client, name)
            if now.get(CHAMPION) != seen:
                continue
            # Rolled back and promoted again meanwhile, the champion is the same, yet it was said.
            verdict = _decided_already(client, name, number, seen) or verdict
            if verdict.promote:
                _set_champion(client, name, number, now)
            else:
                _move(client, name, {CHALLENGER: number})
            if seen != number:
                _record(client, name, number, verdict)
            return CHAMPION if verdict.promote else CHALLENGER, verdict


def promote(workspace: Path, name: str, number: str) -> None:
    """Make a version champion by a person's decision.

    Raises:
        UserError: if there is no such version.
    """
    with registry_lock(workspace, name) as client:
        _clear_rollback(client, name, number)
        _set_champion(client, name, number, aliases(client, name))
        _record(client, name, number, Verdict(True, "promoted by hand"))


def rollback(workspace: Path, name: str) -> tuple[str, str]:
    """Swap champion and previous champion, and return their numbers, the new champion's first.

    Raises:
        UserError: if there is no previous champion.
    """
    with registry_lock(workspace, name) as client:
        now = aliases(client, name)
        if CHAMPION not in now or PREVIOUS not in now:
            raise UserError(f"{name} has no previous champion to go back to")
        after, before = now[PREVIOUS], now[CHAMPION]
        client.set_model_version_tag(name, before, ROLLED_BACK, _now())
        _clear_rollback(client, name, after)
        _move(client, name, {CHAMPION: after, PREVIOUS: before})
        _record(client, name, after, Verdict(True, f"rolled back from version {before}"))
        return after, before


def _decided_already(
    client: MlflowClient, name: str, number: str, champion: str | None
) -> Verdict | None:
    if champion == number:
        return Verdict(True, "is the champion already")
    if any(ROLLED_BACK in version.tags for version in _twins(client, name, number)):
        return Verdict(False, f"was rolled back: bngan promote {name} {number} brings it back")
    return Verdict(True, "first version") if champion is None else None


def _twins(client: MlflowClient, name: str, number: str) -> list[Any]:
    """Return the versions with the same generator, this one among them."""
    with suppressed(MISSING):
        version = client.get_model_version(name, number)
        same = version.tags.get(GENERATOR)
        twins = [other for other in versions_of(client, name) if other.tags.get(GENERATOR) == same]
        return twins if same else [version]
    raise UserError(f"there is no version {number} of {name}")


def _clear_rollback(client: MlflowClient, name: str, number: str) -> None:
    for version in _twins(client, name, number):
        if ROLLED_BACK in version.tags:
            client.delete_model_version_tag(name, str(version.version), ROLLED_BACK)


def _set_champion(client: MlflowClient, name: str, number: str, now: Mapping[str, str]) -> None:
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
    """Make all ``moves``; if this process is killed, the next lock completes them."""
    client.set_registered_model_tag(name, _INTENT, json.dumps(moves))
    _finish(client, name)


def _finish(client: MlflowClient, name: str) -> None:
    intent = None
    with suppressed(MISSING):
        intent = client.get_registered_model(name).tags.get(_INTENT)
    for alias, number in json.loads(intent or "{}").items():
        if number is None:
            client.delete_registered_model_alias(name, alias)
        else:
            with suppressed(MISSING):  # somebody may have deleted that version
                client.set_registered_model_alias(name, alias, number)
    if intent:
        client.delete_registered_model_tag(name, _INTENT)


def _record(client: MlflowClient, name: str, number: str, verdict: Verdict) -> None:
    decision = CHAMPION if verdict.promote else CHALLENGER
    tags = {"decision": decision, "reason": verdict.reason, "decided": _now()}
    for key, value in tags.items():
        client.set_model_version_tag(name, number, f"bngan.{key}", value)


def _now(precision: str = "seconds") -> str:
    return datetime.now(UTC).isoformat(timespec=precision)
