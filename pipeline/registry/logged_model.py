"""Log a generator as an MLflow model: its folders, its code, its interface and its scores."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, ModelSignature

from pipeline.registry.code import library_code


class ModelInterface(NamedTuple):
    """Describe the interface of a model to its callers."""

    python_model: Path
    """File of the MLflow "model from code"."""
    signature: ModelSignature
    """Inputs, outputs and parameters."""
    example: dict[str, np.ndarray]
    """Inputs of a request, which MLflow shows; it warns where a model has none."""
    requirements: list[str]
    """Distributions that the model needs, with their versions."""


@dataclass(frozen=True)
class ModelPackage:
    """Hold the content of a version.

    Attributes:
        parts: the folders of the model, by name.
        tags: tags of the version; ``bngan.fingerprint`` identifies it.
        card: description in Markdown.
        metrics: scores, which MLflow links to the model and to their data.
        data: name and digest of that data.
        interface: inputs, outputs and requirements.
    """

    parts: Mapping[str, Path]
    tags: Mapping[str, str]
    card: str
    metrics: Mapping[str, float]
    data: tuple[str, str]
    interface: ModelInterface


def log_model(client: MlflowClient, run_id: str, package: ModelPackage) -> LoggedModel:
    """Log the model with its own code to the run, and return it.

    ``mlflow.pyfunc.log_model`` does the same in the store that the whole process is set to.
    """
    run = client.get_run(run_id)
    model = client.create_logged_model(
        run.info.experiment_id, "generator", source_run_id=run_id, params=run.data.params
    )
    try:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        _upload(client, run_id, model, package)
        link_metrics(client, run_id, model.model_id, package.metrics, package.data)
    except Exception:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _upload(client: MlflowClient, run_id: str, model: LoggedModel, package: ModelPackage) -> None:
    with library_code() as code, tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
        folder = Path(temporary) / "model"
        mlflow.pyfunc.save_model(
            path=folder,
            mlflow_model=Model(
                artifact_path=model.artifact_location,
                run_id=run_id,
                model_uuid=model.model_id,
                model_id=model.model_id,
            ),
            python_model=str(package.interface.python_model),
            artifacts={name: str(path) for name, path in package.parts.items()},
            code_paths=[str(code)],
            signature=package.interface.signature,
            input_example=package.interface.example,
            pip_requirements=package.interface.requirements,
        )
        client.log_model_artifacts(model.model_id, str(folder))


def link_metrics(
    client: MlflowClient,
    run_id: str,
    model_id: str | None,
    values: Mapping[str, float],
    data: tuple[str, str],
) -> None:
    """Record numbers of a run as a model's, with the name and digest of their data."""
    now, (name, digest) = int(time.time() * 1000), data
    linked: dict[str, Any] = dict(model_id=model_id, dataset_name=name, dataset_digest=digest[:32])
    metrics = [Metric(k, v, now, 0, run_id=run_id, **linked) for k, v in values.items()]
    client.log_batch(run_id, metrics=metrics)
