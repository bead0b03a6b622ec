"""Change aliases and tags of a registered model's versions: all of a change, or nothing of it.

One write records a change, as a tag of the version that the change is about. The next lock completes
what a killed process had begun, and drops a change that the registry no longer fits.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from bngan.serialization.json_records import dataclass_from_json
from pipeline.tracking.tracker import versions_of

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous_champion"
MISSING = "RESOURCE_DOES_NOT_EXIST"
"""MLflow's error code for a model or version that is not in the registry."""
_PREFIX = "bngan."
_INTENT, _EARLIER_INTENT = "bngan.change", "bngan.aliases"
"""Tag of versions: a change under way. Earlier code kept one in a tag of the model."""


@dataclass(frozen=True)
class Change:
    """Describe a change of a registered model.

    Attributes:
        cause: a verdict, promote or rollback.
        start: version numbers by alias before the change.
        moves: version numbers by alias after it, None for no version; other aliases stay.
        tags: values of tags by version number and key, None for no tag; other tags stay.
    """

    cause: str
    start: dict[str, str]
    moves: dict[str, str | None]
    tags: dict[str, dict[str, str | None]]


@contextmanager
def suppressed(error_code: str) -> Iterator[None]:
    """Leave the block silently when MLflow raises an error of this code."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != error_code:
            raise


def aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """Return version numbers by alias; empty if there is no such model."""
    with suppressed(MISSING):
        held = client.get_registered_model(name).aliases
        return {alias: str(number) for alias, number in held.items()}
    return {}


def make_change(client: MlflowClient, name: str, number: str, change: Change) -> None:
    """Make a change that is about a version; a killed process leaves it to ``complete_changes``."""
    client.set_model_version_tag(name, number, _INTENT, json.dumps(asdict(change)))
    _apply(client, name, number, change)


def complete_changes(
    client: MlflowClient, name: str, tell: Callable[[str], None]
) -> dict[str, Change]:
    """Complete the changes of a model that were interrupted, and return them by version number.

    Drop those that cannot be read, or that start from aliases that a person has moved meanwhile.
    ``tell`` gets a line about each change.
    """
    completed = dict[str, Change]()
    versions = {str(version.version): version for version in versions_of(client, name)}
    for number, version in versions.items():
        if (text := version.tags.get(_INTENT)) is None:
            continue
        try:
            change = _parse(text)
            _require_fit(change, aliases(client, name), set(versions))
        except ValueError as problem:
            tell(f"{name}: a change that was interrupted is dropped: {problem}")
            client.delete_model_version_tag(name, number, _INTENT)
            continue
        _apply(client, name, number, change)
        completed[number] = change
        tell(f"{name}: a change that was interrupted is completed ({change.cause} {number})")
    _drop_earlier(client, name, tell)
    return completed


def _parse(text: str) -> Change:
    """Return the change in a tag's text. Raises ``ValueError`` if it is none."""
    try:
        change = dataclass_from_json(Change, json.loads(text), "it")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read ({error})") from error
    if unknown := change.moves.keys() - {CHAMPION, CHALLENGER, PREVIOUS}:
        raise ValueError(f"it cannot be read (it moves the alias {min(unknown)!r:.60})")
    if foreign := {k for its in change.tags.values() for k in its if not k.startswith(_PREFIX)}:
        raise ValueError(f"it cannot be read (it sets the tag {min(foreign)!r:.60})")
    return change


def _require_fit(change: Change, now: dict[str, str], numbers: set[str]) -> None:
    """Raise ``ValueError`` unless each alias is where the change found it, or where it moves it."""
    for alias, number in change.moves.items():
        if now.get(alias) not in (change.start.get(alias), number):
            where = f"version {now[alias]}" if alias in now else "no version"
            raise ValueError(f"{alias} is {where} meanwhile")
        if number is not None and number not in numbers:
            raise ValueError(f"there is no version {number!r:.60}")


def _apply(client: MlflowClient, name: str, number: str, change: Change) -> None:
    """Write all that a change says, which may be there in part, and forget the change."""
    for version, tags in change.tags.items():
        for key, value in tags.items():
            with suppressed(MISSING):  # somebody may have deleted that version
                if value is None:
                    client.delete_model_version_tag(name, version, key)
                else:
                    client.set_model_version_tag(name, version, key, value)
    for alias, holder in change.moves.items():
        with suppressed(MISSING):
            if holder is None:
                client.delete_registered_model_alias(name, alias)
            else:
                client.set_registered_model_alias(name, alias, holder)
    with suppressed(MISSING):
        client.delete_model_version_tag(name, number, _INTENT)


def _drop_earlier(client: MlflowClient, name: str, tell: Callable[[str], None]) -> None:
    """Drop a change that a killed process of an earlier version of bngan has left."""
    with suppressed(MISSING):
        if _EARLIER_INTENT in client.get_registered_model(name).tags:
            client.delete_registered_model_tag(name, _EARLIER_INTENT)
            tell(f"{name}: a change that was interrupted is dropped: an earlier bngan began it")
