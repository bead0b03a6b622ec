"""Decide which version of a registered model is champion: one process at a time."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from bngan.serialization.json_records import json_object
from pipeline.core.errors import UserError
from pipeline.core.lock import exclusive_lock, make_private_dir
from pipeline.core.names import model_name_errors
from pipeline.registry.changes import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Change,
    aliases,
    complete_changes,
    make_change,
)
from pipeline.tracking.tracker import existing_client, versions_of

ROLLED_BACK, CROWNED = "bngan.rolled_back", "bngan.crowned"
"""Tags of versions: times of the last rollback by hand, and of the last promotion to champion."""
GENERATOR = "bngan.generator"
"""Tag of versions: digest of the generator, equal for all its versions."""
EXTRACTOR = "bngan.extractor"
"""Tag of versions: kind of the extractor that scored it; older versions have none."""
FINGERPRINT = "bngan.fingerprint"
"""Tag of versions: what a registration is identified by; versions of other tools have none."""
DECISION, REASON, GATE = "bngan.decision", "bngan.reason", "bngan.gate"
"""Tags of versions: alias that the last decision gave, its reason, and its numbers as JSON."""
_ROLLBACK = "rollback"
_LOCK_TIMEOUT_S = 600.0
Tell = Callable[[str], None]
"""Take a line for the person at the command."""


@dataclass(frozen=True)
class Verdict:
    """Say whether a version becomes champion, why, and from which numbers (JSON values)."""

    promote: bool
    reason: str
    details: dict[str, Any] = field(default_factory=dict)


class Opponent(NamedTuple):
    """Hold the version that a candidate has to beat."""

    alias: str
    """Its alias: champion, or previous_champion if there is no champion."""
    number: str

    def __str__(self) -> str:
        return f"{self.alias.replace('_', ' ')} version {self.number}"

    @classmethod
    def of(cls, held: Mapping[str, str], versions: Iterable[ModelVersion]) -> "Opponent | None":
        """Return the opponent among version numbers by alias, or None.

        A previous champion that a person has rolled back is none.
        """
        if CHAMPION in held:
            return cls(CHAMPION, held[CHAMPION])
        rolled_back = [str(version.version) for version in versions if ROLLED_BACK in version.tags]
        if PREVIOUS not in held or held[PREVIOUS] in rolled_back:
            return None
        return cls(PREVIOUS, held[PREVIOUS])


@contextmanager
def registry_lock(workspace: Path, name: str, tell: Tell) -> Iterator[MlflowClient]:
    """Lock the registered model ``name`` for this workspace, and yield a client.

    First complete the changes that a killed process had begun.
    """
    with _locked(workspace, name, tell) as (client, _):
        yield client


@contextmanager
def _locked(
    workspace: Path, name: str, tell: Tell
) -> Iterator[tuple[MlflowClient, dict[str, Change]]]:
    """Lock like ``registry_lock``; yield a client, and the completed changes by version number."""
    require_name(name)
    client = existing_client(workspace, writes=True)
    lock = make_private_dir(workspace) / "locks" / f"model-{name}"
    with exclusive_lock(lock, f"model {name}", _LOCK_TIMEOUT_S):
        yield client, complete_changes(client, name, tell)


def require_name(name: str) -> None:
    """Raise ``UserError`` if a registered model cannot have this name."""
    for problem in model_name_errors("NAME", name):
        raise UserError(problem)


def assign_alias(
    workspace: Path,
    name: str,
    number: str,
    judge: Callable[[Opponent], Verdict],
    tell: Tell,
) -> tuple[str, Verdict]:
    """Make a version champion or challenger; return its alias and the verdict.

    ``judge`` takes the version to beat and runs without the lock. If that has changed when it returns,
    it judges again. A version that a person has rolled back is never promoted here, nor one that
    nothing can be judged against, unless it is the first.
    """
    client = existing_client(workspace)
    while True:
        found = _verdict_or_opponent(client, name, number)
        try:
            verdict = judge(found) if isinstance(found, Opponent) else found
        except UserError:
            if _verdict_or_opponent(client, name, number) == found:
                raise
            continue  # somebody has deleted the opponent meanwhile
        with registry_lock(workspace, name, tell):
            # A person may have rolled the version back meanwhile, and the opponent is the same.
            again = _verdict_or_opponent(client, name, number)
            if isinstance(again, Opponent) and again != found:
                continue
            verdict = verdict if isinstance(again, Opponent) else again
            now = aliases(client, name)
            if now.get(CHAMPION) != number:
                make_change(client, name, number, _change("verdict", now, number, verdict))
            return CHAMPION if verdict.promote else CHALLENGER, verdict


def promote(workspace: Path, name: str, number: str, tell: Tell) -> None:
    """Make a version champion by a person's decision.

    Raises:
        UserError: if there is no such version.
    """
    with registry_lock(workspace, name, tell) as client:
        forgiven = _without_rollback(client, name, number)
        verdict = Verdict(True, "promoted by hand")
        change = _change("promote", aliases(client, name), number, verdict, forgiven)
        make_change(client, name, number, change)


def rollback(workspace: Path, name: str, tell: Tell) -> tuple[str, str | None]:
    """Swap champion and previous champion; return their numbers, the new champion's first.

    If the champion has been deleted, the previous one takes its place; the second number is None then.
    A rollback that was interrupted is completed, and not undone.

    Raises:
        UserError: if there is no previous champion.
    """
    with _locked(workspace, name, tell) as (client, completed):
        now = aliases(client, name)
        for number, change in completed.items():
            if change.cause == _ROLLBACK and now.get(CHAMPION) == number:
                return number, change.start.get(CHAMPION)
        if PREVIOUS not in now or now[PREVIOUS] == now.get(CHAMPION):
            raise UserError(f"{name} has no previous champion to go back to")
        after, before = now[PREVIOUS], now.get(CHAMPION)
        reason = f"rolled back from version {before}" if before else "rolled back: no champion"
        tags = _without_rollback(client, name, after)
        if before:
            tags[before] = {ROLLED_BACK: _now()}
        change = _change(_ROLLBACK, now, after, Verdict(True, reason), tags)
        moves = {**change.moves, PREVIOUS: before}
        make_change(client, name, after, replace(change, moves=moves))
        return after, before


def _verdict_or_opponent(client: MlflowClient, name: str, number: str) -> Verdict | Opponent:
    """Return the verdict on a version that needs no comparison, else the version to beat."""
    versions, now = versions_of(client, name), aliases(client, name)
    own, opponent = _pick(versions, name, number), Opponent.of(now, versions)
    champion, mend = now.get(CHAMPION), shlex.join(("bngan", "promote", name, number))
    if champion == number:
        return _recorded(own)
    twins = _twins(own, versions)
    if any(ROLLED_BACK in twin.tags for twin in twins):
        return Verdict(False, f"was rolled back: {mend} brings it back")
    if champion in [str(twin.version) for twin in twins]:
        same = f"is the same generator as champion version {champion}"
        return Verdict(False, f"{same}: {mend} makes it champion all the same")
    if opponent and opponent.number != number:
        return opponent
    if any(_reigned_or_foreign(other) for other in versions if other is not own):
        return Verdict(False, f"there is no champion to compare it with: {mend} makes it champion")
    return Verdict(True, "first version")


def _pick(versions: list[ModelVersion], name: str, number: str) -> ModelVersion:
    """Return the version with a number. Raises ``UserError`` if there is none."""
    for version in versions:
        if str(version.version) == number:
            return version
    raise UserError(f"there is no version {number} of {name}")


def _reigned_or_foreign(version: ModelVersion) -> bool:
    """Return whether a version shows that the model is in use: not one whose registration died."""
    return FINGERPRINT not in version.tags or DECISION in version.tags


def _recorded(version: ModelVersion) -> Verdict:
    """Return the verdict that made a version champion, as far as its tags tell it."""
    if version.tags.get(DECISION) != CHAMPION:
        return Verdict(True, "is the champion already")
    reason = version.tags.get(REASON, "is the champion already")
    return Verdict(True, reason, json_object(version.tags.get(GATE, "")))


def _twins(version: ModelVersion, versions: list[ModelVersion]) -> list[ModelVersion]:
    """Return the versions with the same generator, this one among them."""
    same = version.tags.get(GENERATOR)
    twins = [other for other in versions if other.tags.get(GENERATOR) == same]
    return twins if same else [version]


def _without_rollback(
    client: MlflowClient, name: str, number: str
) -> dict[str, dict[str, str | None]]:
    """Return the tags, for a change, by which nobody has rolled back a version or its twins."""
    versions = versions_of(client, name)
    twins = _twins(_pick(versions, name, number), versions)
    rolled_back = [str(twin.version) for twin in twins if ROLLED_BACK in twin.tags]
    return {twin: {ROLLED_BACK: None} for twin in rolled_back}


def _change(
    cause: str,
    now: dict[str, str],
    number: str,
    verdict: Verdict,
    tags: Mapping[str, dict[str, str | None]] = MappingProxyType({}),
) -> Change:
    """Return the change that gives a version the alias of a verdict, and records the verdict.

    ``now`` has version numbers by alias, ``tags`` further tags by version number.
    """
    to_challenger: dict[str, str | None] = {CHALLENGER: number}
    moves = _coronation(number, now) if verdict.promote else to_challenger
    decision: dict[str, str | None] = {
        DECISION: CHAMPION if verdict.promote else CHALLENGER,
        REASON: verdict.reason,
        "bngan.decided": _now(),
        GATE: json.dumps(verdict.details) if verdict.details else None,
    }
    if CHAMPION in moves:
        decision[CROWNED] = _now("microseconds")
    return Change(cause, now, moves, {**tags, number: {**tags.get(number, {}), **decision}})


def _coronation(number: str, now: Mapping[str, str]) -> dict[str, str | None]:
    """Return the moves of aliases that make a version champion."""
    moves: dict[str, str | None] = {}
    if (champion := now.get(CHAMPION)) != number:
        moves[CHAMPION] = number
        if champion:
            moves[PREVIOUS] = champion
        elif now.get(PREVIOUS) == number:
            moves[PREVIOUS] = None
    if now.get(CHALLENGER) == number:
        moves[CHALLENGER] = None
    return moves


def _now(precision: str = "seconds") -> str:
    return datetime.now(UTC).isoformat(timespec=precision)
