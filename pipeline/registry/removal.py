"""Remove registered versions with their files; a removal that is killed is completed later."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion

from bngan.serialization.problem import first_line
from pipeline.core.errors import UserError
from pipeline.core.uris import REGISTERED, local_path, redact_uri
from pipeline.registry.aliases import MISSING, aliases, registry_lock, suppressed
from pipeline.tracking.database import database_path
from pipeline.tracking.mlflow_internals import delete_files, stored_files
from pipeline.tracking.tracker import existing_client, models, tracking_uri, versions_of

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
    every = [other for each in models(client) for other in versions_of(client, each.name)]
    shared = (version.source, uri)
    if sum(o.source in shared or model_id_of(o) == model.model_id for o in every) > 1:
        raise UserError(f"{uri} shares its files with another version")
    return model


def model_id_of(version: ModelVersion) -> str | None:
    """Return the id of the logged model that a version consists of, or None."""
    return version.tags.get("bngan.model_id") or version.model_id


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


def remove_version(workspace: Path, name: str, number: str) -> None:
    """Remove a version from the registry, then its files, unless it has an alias now.

    Raises:
        UserError: if the version has an alias, or its files cannot be removed.
    """
    with registry_lock(workspace, name) as client:
        for alias, holder in aliases(client, name).items():
            if holder == number:
                raise UserError(f"{REGISTERED}{name}/{number} is {alias} now")
        model = removable_files(workspace, client, client.get_model_version(name, number))
        client.set_registered_model_tag(name, f"{_REMOVING}{number}", model.model_id)
        _complete(workspace, client, name, number, model.model_id)


def complete_removals(workspace: Path) -> list[str]:
    """Complete the removals that were interrupted; return a line for each that still cannot be."""
    problems = []
    for model in models(existing_client(workspace)):
        for key, model_id in model.tags.items():
            if not key.startswith(_REMOVING):
                continue
            try:
                with registry_lock(workspace, model.name) as client:
                    number = key.removeprefix(_REMOVING)
                    _complete(workspace, client, model.name, number, model_id)
            except UserError as problem:
                problems.append(str(problem))
    return problems


def _complete(workspace: Path, client: MlflowClient, name: str, number: str, model_id: str) -> None:
    """Do what is left to do of a removal; a version that has an alias meanwhile stays."""
    if number not in aliases(client, name).values():
        with suppressed(MISSING):
            client.delete_model_version(name, number)
        model = _logged(client, model_id)
        if model and _is_kept(workspace, client, model):
            _delete_files(workspace, client, model, f"{REGISTERED}{name}/{number}")
    client.delete_registered_model_tag(name, f"{_REMOVING}{number}")


def _delete_files(workspace: Path, client: MlflowClient, model: LoggedModel, uri: str) -> None:
    """Delete the files of a logged model, then the model, whose files nobody asks for any more."""
    where = model.artifact_location
    try:
        delete_files(where, tracking_uri(workspace))
    except Exception as error:  # every store has its own
        left = f"{uri} is removed, but not its files in {redact_uri(where)}"
        raise UserError(f"{left}: {first_line(error)}") from error
    client.delete_logged_model(model.model_id)
