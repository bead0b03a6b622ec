"""Remove registered versions with their files; a removal that is killed is completed later."""

from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion, RegisteredModel

from bngan.serialization.problem import first_line
from pipeline.core.errors import UserError
from pipeline.core.uris import REGISTERED, local_path, redact_uri
from pipeline.registry.aliases import Tell, registry_lock
from pipeline.registry.changes import MISSING, aliases, suppressed
from pipeline.registry.logged_model import MADE_FOR
from pipeline.tracking.database import database_path
from pipeline.tracking.mlflow_internals import (
    MLFLOW_MODEL_VERSIONS,
    delete_files,
    stored_files,
)
from pipeline.tracking.tracker import (
    existing_client,
    logged_models,
    models,
    tracking_uri,
    versions_of,
)

MODEL_ID = "bngan.model_id"
"""Tag of versions: the logged model that it consists of."""
_REMOVING = "bngan.removing."
"""Prefix of tags of a registered model: the logged model of a version that is being removed."""


def uri_of(version: ModelVersion) -> str:
    """Return the address of a version."""
    return f"{REGISTERED}{version.name}/{version.version}"


def removable_files(workspace: Path, client: MlflowClient, version: ModelVersion) -> LoggedModel:
    """Return the logged model whose files are the version's.

    Raises:
        UserError: if the files are not where MLflow keeps those of the experiment.
    """
    uri, model = uri_of(version), _logged(client, str(model_id_of(version)))
    if model is None:
        raise UserError(f"{uri} has no logged model, so that its files may be anybody's")
    named = version.source in (model.artifact_location, f"{REGISTERED}{model.model_id}")
    if not (named and _is_kept(workspace, client, model)):
        raise UserError(f"{uri} has its files elsewhere: {redact_uri(str(version.source))}")
    shared = (version.source, uri)
    users = (o.source in shared or model_id_of(o) == model.model_id for o in _versions(client))
    if sum(users) > 1:
        raise UserError(f"{uri} shares its files with another version")
    return model


def model_id_of(version: ModelVersion) -> str | None:
    """Return the id of the logged model that a version consists of, or None."""
    return version.tags.get(MODEL_ID) or version.model_id


def _versions(client: MlflowClient) -> Iterator[ModelVersion]:
    return (version for model in models(client) for version in versions_of(client, model.name))


def _logged(client: MlflowClient, model_id: str) -> LoggedModel | None:
    with suppressed(MISSING):
        return client.get_logged_model(model_id)
    return None


def _is_kept(workspace: Path, client: MlflowClient, model: LoggedModel) -> bool:
    """Return whether a model's files are where its experiment keeps them, links followed.

    A copied workspace has a database that names the files of the original.
    """
    where = model.artifact_location
    root = str(client.get_experiment(model.experiment_id).artifact_location).rstrip("/")
    if not where.startswith(f"{root}/models/{model.model_id}/"):
        return False
    if (files := local_path(where)) is None or (kept := local_path(root)) is None:
        return True
    files, kept = files.resolve(), kept.resolve()
    if owns_store(workspace) and not kept.is_relative_to(workspace.resolve()):
        return False
    return files.is_relative_to(kept)


def owns_store(workspace: Path) -> bool:
    """Return whether MLflow's store is a database in the workspace, for nothing else."""
    database = database_path(tracking_uri(workspace))
    return database is not None and database.parent == workspace


def version_bytes(workspace: Path, model: LoggedModel) -> int:
    """Return the bytes of a logged model's files."""
    files = stored_files(model.artifact_location, tracking_uri(workspace))
    return sum(file.file_size or 0 for file in files)


def remove_version(workspace: Path, name: str, number: str, tell: Tell) -> None:
    """Remove a version from the registry, then its files, unless it has an alias now.

    Raises:
        UserError: if the version has an alias, or its files cannot be removed.
    """
    with registry_lock(workspace, name, tell) as client:
        for alias, holder in aliases(client, name).items():
            if holder == number:
                raise UserError(f"{REGISTERED}{name}/{number} is {alias} now")
        model = removable_files(workspace, client, client.get_model_version(name, number))
        client.set_registered_model_tag(name, f"{_REMOVING}{number}", model.model_id)
        _complete(workspace, client, name, number, model.model_id)


def complete_removals(workspace: Path, tell: Tell) -> list[str]:
    """Complete the removals that were interrupted; return a line for each that still cannot be.

    Drop those that cannot be read; ``tell`` gets a line about each.
    """
    problems = []
    for model in models(existing_client(workspace)):
        if not any(key.startswith(_REMOVING) for key in model.tags):
            continue
        try:
            with registry_lock(workspace, model.name, tell) as client:
                for number, model_id in _begun(client, model, tell):
                    _complete(workspace, client, model.name, number, model_id)
        except UserError as problem:
            problems.append(str(problem))
    return problems


def _begun(client: MlflowClient, model: RegisteredModel, tell: Tell) -> list[tuple[str, str]]:
    """Return version numbers and logged models of the removals that were interrupted.

    A removal that names the logged model of another version cannot be one of ours.
    """
    found = []
    for key, model_id in model.tags.items():
        number, address = key.removeprefix(_REMOVING), f"{model.name}/{key.removeprefix(_REMOVING)}"
        if number == key:
            continue
        users = {
            uri_of(version) for version in _versions(client) if model_id_of(version) == model_id
        }
        if number.isdecimal() and users <= {f"{REGISTERED}{address}"}:
            found.append((number, model_id))
        else:
            client.delete_registered_model_tag(model.name, key)
            tell(f"{address:.80}: a removal that was interrupted is dropped: it cannot be read")
    return found


def remove_unregistered(workspace: Path, client: MlflowClient, name: str, tell: Tell) -> None:
    """Remove the logged models that killed registrations of ``name`` have left, with their files.

    ``tell`` gets a line about each that cannot be removed: that is no reason to register nothing.
    """
    used = {model_id_of(version) for version in versions_of(client, name)}
    for model in logged_models(client, f"tags.`{MADE_FOR}` = '{name}'"):
        if MLFLOW_MODEL_VERSIONS in model.tags or model.model_id in used:
            continue
        if _runs(client, str(model.source_run_id)) or not _is_kept(workspace, client, model):
            continue
        try:
            _delete_files(workspace, client, model)
        except UserError as problem:
            tell(f"what a killed registration has left stays: {problem}")


def _runs(client: MlflowClient, run_id: str) -> bool:
    """Return whether a run says RUNNING: a registration in another workspace may be under way."""
    with suppressed(MISSING):
        return bool(client.get_run(run_id).info.status == "RUNNING")
    return False


def _complete(workspace: Path, client: MlflowClient, name: str, number: str, model_id: str) -> None:
    """Do what is left to do of a removal; a version that has an alias meanwhile stays."""
    if number not in aliases(client, name).values():
        with suppressed(MISSING):
            client.delete_model_version(name, number)
        model = _logged(client, model_id)
        if model and _is_kept(workspace, client, model):
            try:
                _delete_files(workspace, client, model)
            except UserError as problem:
                address = f"{REGISTERED}{name}/{number}"
                raise UserError(
                    f"{address} is removed, but not its files in {problem}"
                ) from problem
    client.delete_registered_model_tag(name, f"{_REMOVING}{number}")


def _delete_files(workspace: Path, client: MlflowClient, model: LoggedModel) -> None:
    """Delete the files of a logged model, then the model, whose files nobody asks for any more."""
    where = model.artifact_location
    try:
        delete_files(where, tracking_uri(workspace))
    except Exception as error:  # every store has its own
        raise UserError(f"{redact_uri(where)}: {first_line(error)}") from error
    client.delete_logged_model(model.model_id)
