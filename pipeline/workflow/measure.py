"""Keep the kind of features that a model's champion is measured by."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from bngan.data.dataset import ImageSplit
from bngan.metrics.extractors import classes_to_learn, default_kind
from bngan.metrics.features import INFO
from pipeline.config.schema import Config
from pipeline.core.errors import UserError
from pipeline.registry.aliases import EXTRACTOR, Opponent
from pipeline.registry.changes import aliases
from pipeline.tracking.tracker import versions_of


def with_measure(config: Config, prepared: Path, client: MlflowClient) -> tuple[Config, str]:
    """Return the configuration with the champion's kind of features, and a line about it.

    Without it, a new version of bngan or other images would change a model's measure unasked. The
    configuration stays as it is, and the line empty, if it names a kind, or the kind is the one that
    suits the images.

    Args:
        config: the configuration.
        prepared: the output of prepare.
        client: client of the store that has the registry.

    Raises:
        UserError: if the champion's features come from a file that only its owner has.
    """
    model = config.register.model
    if config.extractor.kind != "auto" or config.adapt.base:
        return config, ""
    opponent = Opponent.of(aliases(client, model), versions_of(client, model))
    kind = opponent and _kind(client, model, opponent.number)
    train = ImageSplit.load(prepared, "train")
    if not kind or kind == default_kind(train.spec.shape, classes_to_learn(train)):
        return config, ""
    champion = f"{opponent} of {model} is measured"
    if kind == "file":
        raise UserError(
            f"extractor.kind: {champion} by a network in a file: write extractor.kind=file and "
            "extractor.weights, or another kind, which measures both anew"
        )
    extractor = replace(config.extractor, kind=kind)  # type: ignore[arg-type]  # one of the kinds
    line = f"extractor.kind is {kind}, as {champion}; another one must be written"
    return replace(config, extractor=extractor), line


def _kind(client: MlflowClient, model: str, number: str) -> str | None:
    """Return the kind of the extractor that a version carries; None if it carries none."""
    version = client.get_model_version(model, number)
    if kind := version.tags.get(EXTRACTOR):
        return kind
    source = client.get_model_version_download_uri(model, number)
    with tempfile.TemporaryDirectory(prefix="bngan-") as folder:
        try:
            file = mlflow.artifacts.download_artifacts(
                f"{source}/artifacts/reference/{INFO}",
                dst_path=folder,
                tracking_uri=client.tracking_uri,
            )
            found = json.loads(Path(file).read_text(encoding="utf-8"))
        except (MlflowException, OSError, ValueError):
            return None
    return str(found["kind"]) if isinstance(found, dict) and "kind" in found else None
