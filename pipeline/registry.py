"""MLflow's model registry: logging a generator, registering it as a version, naming the champion."""

import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

import bngan
from pipeline.errors import UserError
from pipeline.tracking import tracking_uri

CHAMPION, CHALLENGER = "champion", "challenger"
_REQUIREMENTS = ("mlflow", "torch", "numpy", "safetensors", "pillow")


@dataclass
class Registration:
    """A registered version, the alias it got, and why."""

    name: str
    version: str
    alias: str
    reason: str

    @property
    def uri(self) -> str:
        """What ``mlflow`` and ``bngan sample`` take: this version, whatever becomes of its alias."""
        return f"models:/{self.name}/{self.version}"


def register(
    workspace: Path, run_id: str, name: str, parts: Mapping[str, Path], tags: Mapping[str, str]
) -> Registration:
    """Register a generator as a version of ``name``; ``parts`` are the folders it is made of.

    Registering the same ``tags["bngan.fingerprint"]`` again finds the version made before. The
    version becomes champion when there is none, or when it has a lower ``fid`` by the same
    ``bngan.measure``; otherwise challenger.
    """
    with _stores(workspace):
        client = MlflowClient()
        number = _existing(client, name, tags["bngan.fingerprint"])
        if number is None:
            model = _log_model(run_id, parts)
            all_tags = {**tags, "bngan.model_id": str(model.model_id)}
            number = str(mlflow.register_model(model.model_uri, name, tags=all_tags).version)
        alias, reason = _judge(client, name, number, tags)
        client.set_registered_model_alias(name, alias, number)
        client.set_model_version_tag(name, number, "bngan.reason", reason)
        return Registration(name, number, alias, reason)


def generate(workspace: Path, uri: str, indices: np.ndarray, **params: float) -> np.ndarray:
    """uint8 images ``(N, H, W, C)`` of the model at ``uri``, with the parameters that it takes.

    Raises:
        UserError: if there is no such model, or it refuses the parameters.
    """
    with _model_at(workspace, uri):
        model = mlflow.pyfunc.load_model(uri)
        try:
            images: np.ndarray = model.predict({"index": indices}, params=params)
        except ValueError as error:
            raise UserError(f"{uri}: {error}") from error
        return images


def download(workspace: Path, uri: str, folder: Path) -> Path:
    """Copy the files of the model at ``uri`` into ``folder``; where they are then.

    Raises:
        UserError: if there is no such model.
    """
    with _model_at(workspace, uri):
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))


@contextmanager
def _model_at(workspace: Path, uri: str) -> Iterator[None]:
    """MLflow's stores, where loading the model at ``uri`` fails with a line for a person."""
    if not re.match(r"(models:/[^/@]+[/@]|models:/m-|runs:/)[^/@]*", uri):
        raise UserError(f"{uri} is no model: write models:/NAME@ALIAS or models:/NAME/VERSION")
    database = tracking_uri(workspace).removeprefix("sqlite:///")
    if tracking_uri(workspace) != database and not Path(database).exists():
        raise UserError(f"there is no MLflow database {database}: set --workspace")
    with _stores(workspace):
        try:
            yield
        except (MlflowException, OSError) as error:
            raise UserError(f"cannot load {uri}: {str(error).splitlines()[0]}") from error


def current_alias(workspace: Path, name: str, number: str) -> str | None:
    """The alias that a version has now.

    Raises:
        LookupError: if the version is not in the registry any more.
    """
    with _stores(workspace):
        try:
            aliases = MlflowClient().get_model_version(name, number).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise LookupError(f"{name} version {number} is no longer registered") from error
    return next((alias for alias in (CHAMPION, CHALLENGER) if alias in aliases), None)


@contextmanager
def _stores(workspace: Path) -> Iterator[None]:
    """MLflow's fluent functions pointed at this workspace's stores, without its advice."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(tracking_uri(workspace))
    try:
        with warnings.catch_warnings(record=True), redirect_stderr(io.StringIO()):
            yield
    finally:
        # MLflow writes the variable itself; what comes later must find it as the user left it.
        mlflow.set_tracking_uri(given)  # type: ignore[arg-type]


def _log_model(run_id: str, parts: Mapping[str, Path]) -> Any:
    """Log the model with the run; its own code travels with it."""
    with mlflow.start_run(run_id=run_id):
        return mlflow.pyfunc.log_model(
            name="generator",
            python_model=str(Path(__file__).with_name("generator_model.py")),
            artifacts={name: str(folder) for name, folder in parts.items()},
            code_paths=[str(Path(str(bngan.__file__)).parent)],
            signature=ModelSignature(
                inputs=Schema([TensorSpec(np.dtype(np.int64), (-1,), "index")]),
                outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1))]),
                params=ParamSchema(
                    [
                        ParamSpec("seed", "long", 0),
                        ParamSpec("truncation", "double", 1.0),
                        ParamSpec("label", "long", -1),
                    ]
                ),
            ),
            pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
        )


def _existing(client: MlflowClient, name: str, fingerprint: str) -> str | None:
    found = client.search_model_versions(f"name = '{name}'")
    numbers = [int(v.version) for v in found if v.tags.get("bngan.fingerprint") == fingerprint]
    return str(min(numbers)) if numbers else None


def _judge(
    client: MlflowClient, name: str, number: str, tags: Mapping[str, str]
) -> tuple[str, str]:
    """Alias of a version and the reason for it."""
    try:
        champion = client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        return CHAMPION, "first version"
    if str(champion.version) == number:
        return CHAMPION, "is the champion already"
    if champion.tags.get("bngan.measure") != tags["bngan.measure"]:
        return CHALLENGER, f"scored by another protocol than champion version {champion.version}"
    ours, theirs = float(tags["fid"]), float(champion.tags["fid"])
    told = f"FID {ours:.2f} against {theirs:.2f} of version {champion.version}"
    return (CHAMPION, f"better: {told}") if ours < theirs else (CHALLENGER, f"not better: {told}")
