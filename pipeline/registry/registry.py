"""Register generators as versions in MLflow, find versions, and open them."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from bngan.generation.sampler import Sampler
from bngan.serialization.manifest import scratch_folder
from pipeline.core.errors import UserError
from pipeline.core.lock import make_private_dir
from pipeline.registry.aliases import FINGERPRINT, REASON, Tell, registry_lock, require_name
from pipeline.registry.changes import (
    CHALLENGER,
    CHAMPION,
    MISSING,
    PREVIOUS,
    aliases,
    suppressed,
)
from pipeline.registry.integrity import (
    FILES,
    IntegrityError,
    find_tampering,
    write_manifests,
)
from pipeline.registry.logged_model import ModelPackage, log_model
from pipeline.registry.removal import MODEL_ID, model_id_of, remove_unregistered
from pipeline.storage.sharing import EXPIRY_S, FOLDER
from pipeline.tracking.mlflow_internals import MLFLOW_MODEL_VERSIONS
from pipeline.tracking.server import refusal
from pipeline.tracking.tracker import existing_client, models, tracking_uri, versions_of

CLASSES = "bngan.classes"
"""Tag of versions that generate by class: the first classes with their numbers."""
_PARTS = "generator", "reference", "second"
_CARD_LIMIT = 5000
"""Characters that MLflow keeps of a version's description."""


def register(workspace: Path, run_id: str, name: str, package: ModelPackage, tell: Tell) -> str:
    """Register a generator as a version of ``name``, and return the version's number.

    A second registration with the same ``tags["bngan.fingerprint"]``, after an interruption or from
    another process, returns the first one's number. Models that a killed registration has left are
    removed.
    """
    identity = package.tags[FINGERPRINT]
    with registry_lock(workspace, name, tell) as client:
        remove_unregistered(workspace, client, name, tell)
        existing = versions_of(client, name)
        same = [v for v in existing if v.tags.get(FINGERPRINT) == identity]
        if same:
            version = min(same, key=lambda each: int(each.version))
        else:
            tags = {**package.tags, FILES: write_manifests(package.parts)}
            model = log_model(client, run_id, name, package)
            version = _create_version(client, name, tags, model)
        number = str(version.version)
        if model_id := model_id_of(version):
            linked = json.dumps([{"name": name, "version": version.version}])
            client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: linked})
        client.update_model_version(name, number, package.card[:_CARD_LIMIT])
        return number


def tags_of(workspace: Path, name: str, number: str) -> dict[str, str]:
    """Return the tags of a version."""
    return dict(existing_client(workspace).get_model_version(name, number).tags)


def version_of(workspace: Path, name: str, alias: str) -> str:
    """Return the number of the version that has an alias now.

    Raises:
        UserError: if no version has it.
    """
    held = aliases(existing_client(workspace), name)
    if alias not in held:
        raise UserError(f"there is no models:/{name}@{alias}")
    return held[alias]


def versions(workspace: Path, name: str | None) -> list[dict[str, Any]]:
    """Return every version of one model or of all models, newest first, as JSON values.

    Raises:
        UserError: if there is no such model.
    """
    client = existing_client(workspace)
    if name:
        require_name(name)
    names = [model.name for model in models(client, name)]
    if name and not names:
        raise UserError(f"there is no model {name}")
    return [
        {
            "name": each,
            "version": str(version.version),
            "aliases": sorted(a for a, n in held.items() if n == str(version.version)),
            "created": version.creation_timestamp / 1000,
            "protocol": version.tags.get("bngan.protocol"),
            "fid": recorded_number(version.tags, "fid"),
            "classes": version.tags.get(CLASSES),
            "reason": version.tags.get(REASON),
        }
        for each in names
        for held in [aliases(client, each)]
        for version in sorted(versions_of(client, each), key=lambda v: -int(v.version))
    ]


def recorded_number(tags: Mapping[str, str], key: str) -> float | None:
    """Return the number in a version's tag; None if there is none, or it is not finite."""
    try:
        value = float(tags.get(key, "nan"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class OpenedModel(NamedTuple):
    """Hold a registered model that is downloaded and verified."""

    generator: Path
    """Folder of the generator."""
    reference: Path
    """Folder of the reference that scores it; old versions have none."""
    second: Path
    """Folder of the classifier of its second space; absent if that is another one."""
    sampler: Sampler
    """The generator, loaded."""
    version: ModelVersion
    """The version in the registry."""


@contextmanager
def open_generator(workspace: Path, uri: str) -> Iterator[OpenedModel]:
    """Download, verify and load the model at ``uri``; its folders last as long as the block.

    Raises:
        IntegrityError: if a file differs from the registered one, with its name.
        UserError: if there is no such model.
    """
    if not (address := re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))", uri)):
        raise UserError(f"{uri} is no model: write models:/NAME@ALIAS or models:/NAME/VERSION")
    name, number, alias = address.groups()
    client = existing_client(workspace)
    # In the workspace, where other machines find it too, beside copies of folders that they publish;
    # nobody locks those.
    with scratch_folder(make_private_dir(workspace) / FOLDER, "model", EXPIRY_S) as temporary:
        try:
            # One version throughout, wherever the alias goes meanwhile.
            number = number or str(client.get_model_version_by_alias(name, alias).version)
            version = client.get_model_version(name, number)
            if FILES not in version.tags:  # a model of somebody else's, perhaps a large one
                raise IntegrityError(f"{uri} is not used: {find_tampering(temporary, None)}")
            source = client.get_model_version_download_uri(name, number)
            folder = mlflow.artifacts.download_artifacts(
                source, dst_path=str(temporary), tracking_uri=tracking_uri(workspace)
            )
        except (MlflowException, OSError) as error:
            raise refusal(f"cannot load {uri}", error) from error
        parts = Path(folder) / "artifacts"
        if problem := find_tampering(parts, version.tags.get(FILES)):
            raise IntegrityError(f"{uri} is not used: {problem}")
        try:
            sampler = Sampler.load(parts / "generator")
        except ValueError as error:
            raise IntegrityError(f"{uri}: {error}") from error
        generator, reference, second = (parts / name for name in _PARTS)
        yield OpenedModel(generator, reference, second, sampler, version)


def current_alias(workspace: Path, name: str, number: str) -> str | None:
    """Return the alias that a version has now, or None.

    Raises:
        LookupError: if the version is not in the registry any more.
    """
    with suppressed(MISSING):
        held = existing_client(workspace).get_model_version(name, number).aliases
        return next((alias for alias in (CHAMPION, CHALLENGER, PREVIOUS) if alias in held), None)
    raise LookupError(f"{name} version {number} is no longer registered")


def _create_version(
    client: MlflowClient, name: str, tags: Mapping[str, str], model: LoggedModel
) -> ModelVersion:
    with suppressed("RESOURCE_ALREADY_EXISTS"):
        client.create_registered_model(name)
    return client.create_model_version(
        name,
        # MLflow would look for models:/ID in the store that the whole process is set to.
        model.artifact_location,
        run_id=model.source_run_id,
        tags={**tags, MODEL_ID: model.model_id},
        model_id=model.model_id,
    )
