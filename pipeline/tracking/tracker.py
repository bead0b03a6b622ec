"""Record runs in MLflow: a parent run per invocation, and a nested run per stage that ran."""

import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    LoggedModel,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from bngan.data.hub import HUB_PREFIX
from pipeline.core.errors import UserError
from pipeline.core.lock import exclusive_lock, make_private_dir
from pipeline.core.uris import redact, redact_uri
from pipeline.tracking.database import (
    database_path,
    database_uri,
    is_there,
    make_database,
    open_to_group,
)
from pipeline.tracking.mlflow_internals import (
    DATABASE_LOGGER,
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
)
from pipeline.tracking.relocation import record_place, settle
from pipeline.tracking.server import require_store, store_errors

PIPELINE = "pipeline"
"""The kind of run that an invocation opens, as its tag ``bngan.kind``."""
STORE = "bngan.store"
"""Tag of experiments: the id of their store, which its address is not: databases move."""
USES = "uses."
"""Prefix of the tags that name the folders of stages that an invocation made or found."""
_LOCK_TIMEOUT_S = 120.0
"""Seconds to wait while another process creates the database."""


# Each attempt at a database logs 80 lines; our own message says it in one.
logging.getLogger(DATABASE_LOGGER).setLevel(logging.CRITICAL)


def tracking_uri(workspace: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI`` if set, else the URI of a SQLite file in the workspace.

    Raises ``UserError`` like ``database_uri``.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or database_uri(workspace)


def open_store(workspace: Path, writes: bool = False) -> str:
    """Return the URI of MLflow's store, which can be used and names a workspace's own files.

    A command that locks the workspace calls this first: in a copied or moved workspace, the database is
    rewritten while nobody else is there.

    Raises:
        RetryableError: if the store cannot be used now.
        UserError: if it cannot be used for another reason; ``writes`` says for what.
    """
    uri = tracking_uri(workspace)
    require_store(uri, writes)
    settle(workspace, uri, writes)
    return uri


def existing_client(workspace: Path, writes: bool = False) -> MlflowClient:
    """Return MLflow's client for an existing store.

    Raises:
        UserError: if the store does not exist, or like ``open_store``.
    """
    uri = open_store(workspace, writes)
    database = database_path(uri)
    if database and not is_there(database):
        raise UserError(f"there is no MLflow database {database}: set --workspace")
    with store_errors(uri):
        return MlflowClient(uri, registry_uri=uri)


def experiment_names(client: MlflowClient) -> dict[str, str]:
    """Return names by id of the experiments that have not been deleted."""
    experiments = _pages(lambda token: client.search_experiments(page_token=token))
    return {experiment.experiment_id: experiment.name for experiment in experiments}


def store_ids(client: MlflowClient) -> set[str]:
    """Return the ids of the store: more than one if several machines were first at once."""
    every = _pages(
        lambda token: client.search_experiments(view_type=ViewType.ALL, page_token=token)
    )
    return {each.tags[STORE] for each in every if STORE in each.tags}


def all_runs(client: MlflowClient, condition: str = "") -> Iterator[Run]:
    """Yield every run of every experiment that has not been deleted."""
    ids = list(experiment_names(client))
    return _pages(lambda token: client.search_runs(ids, condition, page_token=token))


def models(client: MlflowClient, name: str | None = None) -> list[RegisteredModel]:
    """Return every registered model, or the one called ``name``."""
    condition = _named(name) if name else None
    return list(_pages(lambda token: client.search_registered_models(condition, page_token=token)))


def versions_of(client: MlflowClient, model: str) -> list[ModelVersion]:
    """Return every version of a registered model."""
    condition = _named(model)
    return list(_pages(lambda token: client.search_model_versions(condition, page_token=token)))


def logged_models(client: MlflowClient, condition: str = "") -> Iterator[LoggedModel]:
    """Yield every logged model of every experiment that has not been deleted."""
    ids = list(experiment_names(client))
    return _pages(lambda token: client.search_logged_models(ids, condition, page_token=token))


def _named(model: str) -> str:
    """Return the condition of a search for a model, whose name may have quotes of one kind."""
    quote = '"' if "'" in model else "'"
    return f"name = {quote}{model}{quote}"


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the results of a search in MLflow, page by page."""
    token = None
    while True:
        page = search(token)
        yield from page
        if not (token := page.token):
            return


class Tracker:
    """The runs of one experiment.

    Attributes:
        uri: address of MLflow's store.
        client: MLflow's client for that store.
        store: id of the store.
    """

    def __init__(self, workspace: Path, experiment: str) -> None:
        self.uri = open_store(workspace, writes=True)
        try:
            make_private_dir(workspace)
        except OSError as error:
            raise UserError(f"workspace: {workspace} cannot be used: {error.strerror}") from error
        lock = exclusive_lock(workspace / "locks" / "mlflow", redact_uri(self.uri), _LOCK_TIMEOUT_S)
        # Of two processes that make an experiment at once, one would be refused.
        with store_errors(self.uri), lock:
            database = database_path(self.uri)
            if database and not is_there(database):
                make_database(database)
            record_place(workspace, self.uri)
            self.client = MlflowClient(self.uri, registry_uri=self.uri)
            known = self._experiment(experiment, workspace)
            self.experiment_id = str(known.experiment_id)
            self.store = known.tags.get(STORE) or self._named_store()
            if database == workspace / "mlflow.db":
                open_to_group(database)

    def _experiment(self, name: str, workspace: Path) -> Experiment:
        known = self.client.get_experiment_by_name(name)
        if known is None:
            # A server knows where its artifacts go; a database would use this very folder.
            served = self.uri.startswith(("http", "databricks"))
            location = None if served else (workspace / "artifacts").as_uri()
            try:
                made = self.client.create_experiment(name, artifact_location=location)
                return self.client.get_experiment(made)
            except MlflowException:
                known = self.client.get_experiment_by_name(name)  # another machine made it
                if known is None:
                    raise
        if known.lifecycle_stage == "deleted":
            self.client.restore_experiment(known.experiment_id)
        return known

    def _named_store(self) -> str:
        """Give the experiment the id of its store, a new one in a new store, and return the id."""
        store = min(store_ids(self.client), default=uuid.uuid4().hex)
        self.client.set_experiment_tag(self.experiment_id, STORE, store)
        return store

    def start(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Open a run, nested under ``parent`` if given, and return its id."""
        nested = {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
        all_tags = {MLFLOW_RUN_NAME: name, **tags, **nested}
        all_tags = {key: redact(value) for key, value in all_tags.items()}
        run = self.client.create_run(self.experiment_id, tags=all_tags, run_name=name)
        return str(run.info.run_id)

    def finish(self, run_id: str, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

    def params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Record configuration values."""
        params = [Param(key, redact(str(value))[:6000]) for key, value in values.items()]
        self.client.log_batch(run_id, params=params)

    def metrics(self, run_id: str, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at ``step`` (images seen)."""
        self.client.log_batch(run_id, metrics=points(values, step))

    def dataset(self, run_id: str, source: str, digest: str, context: str) -> None:
        """Record a dataset that a run has read; MLflow keeps 36 characters of its digest."""
        tags = [InputTag(MLFLOW_DATASET_CONTEXT, context)]
        source = redact(source)
        data = Dataset(dataset_name(source), digest[:32], "bngan", json.dumps({"uri": source}))
        self.client.log_inputs(run_id, [DatasetInput(data, tags)])

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags."""
        tags = [RunTag(key, redact(value)) for key, value in values.items()]
        self.client.log_batch(run_id, tags=tags)

    def artifact(self, run_id: str, name: str, content: bytes) -> None:
        """Keep a file with the run, under ``folder/file``."""
        folder, _, file = name.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
            path = Path(temporary) / file
            path.write_bytes(_seen(content))
            self.client.log_artifact(run_id, str(path), folder or None)

    def finished(self, stage: str, fingerprint: str) -> Run | None:
        """Return the newest FINISHED run of a stage with this fingerprint, in any experiment."""
        condition = f"tags.stage = '{stage}' and tags.fingerprint = '{fingerprint}'"
        return self._newest(condition, list(experiment_names(self.client)))

    def latest(self, stage: str) -> Run | None:
        """Return the newest FINISHED run of a stage in this experiment."""
        return self._newest(f"tags.stage = '{stage}'", [self.experiment_id])

    def _newest(self, condition: str, experiments: list[str]) -> Run | None:
        runs = self.client.search_runs(
            experiments,
            f"{condition} and attributes.status = 'FINISHED'",
            max_results=1,
            order_by=["attributes.end_time DESC"],
        )
        return runs[0] if runs else None


def dataset_name(source: str) -> str:
    """Return MLflow's name of the data at ``source``, without its revision."""
    return Path(source.partition("@")[0] if source.startswith(HUB_PREFIX) else source).name


def _seen(content: bytes) -> bytes:
    """Return the content of a file; text loses its secrets."""
    try:
        return redact(content.decode()).encode()
    except UnicodeDecodeError:
        return content  # a picture


def points(values: Mapping[str, float], step: int) -> list[Metric]:
    """Return MLflow metrics of ``values`` at ``step``, with the present time."""
    now = int(time.time() * 1000)
    return [Metric(key, value, now, step) for key, value in values.items()]
