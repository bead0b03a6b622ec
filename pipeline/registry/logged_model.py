"""Log a generator as an MLflow model: its folders, its code, its interface and its scores."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model

import bngan

MADE_FOR = "bngan.made_for"
"""Tag of logged models: the registered model that is to have it as a version."""


@dataclass(frozen=True)
class ModelPackage:
    """Hold the content of a version.

    Attributes:
        parts: the folders of the model, by name.
        tags: tags of the version; ``bngan.fingerprint`` identifies it.
        card: description in Markdown.
        metrics: scores, which MLflow links to the model and to their data.
        data: name and digest of that data.
        interface: code, inputs, outputs and requirements, as arguments of
            ``mlflow.pyfunc.save_model``.
    """

    parts: Mapping[str, Path]
    tags: Mapping[str, str]
    card: str
    metrics: Mapping[str, float]
    data: tuple[str, str]
    interface: Mapping[str, Any]


def log_model(client: MlflowClient, run_id: str, name: str, package: ModelPackage) -> LoggedModel:
    """Log the model with its own code to the run, and return it; ``name`` is to be its version's.

    ``mlflow.pyfunc.log_model`` does the same in the store that the whole process is set to.
    """
    run = client.get_run(run_id)
    model = client.create_logged_model(
        run.info.experiment_id,
        "generator",
        source_run_id=run_id,
        tags={MADE_FOR: name},
        params=run.data.params,
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
            artifacts={name: str(path) for name, path in package.parts.items()},
            code_paths=[str(code)],
            **package.interface,
        )
        client.log_model_artifacts(model.model_id, str(folder))


@contextmanager
def library_code() -> Iterator[Path]:
    """Yield a folder with a copy of ``bngan`` that can be written to.

    MLflow copies folders with their permissions, and fails where the installed ones are read-only.
    """
    installed = Path(str(bngan.__file__)).parent
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / installed.name
        for path in installed.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                target = copy / path.relative_to(installed)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        yield copy


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
