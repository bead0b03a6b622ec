"""Identify a training, decide whether a run may resume it, and whether it is finished."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from bngan.diagnostics.collapse import early_stopping_point
from bngan.serialization.manifest import digest
from bngan.training.config import SHAPING
from pipeline.config.schema import Config
from pipeline.core.errors import UserError
from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.tracking.tracker import all_runs, existing_client
from pipeline.workflow.fingerprint import Fingerprint
from pipeline.workflow.stage import StageContext

ORIGIN = "origin.json"
"""File, beside the checkpoints, that lists the code that made them."""


def training_id(config: Config, input_digests: Mapping[str, str]) -> str:
    """Return the folder name of a training: a hash of everything that determines its trajectory.

    Length, scores and number of workers are not in the hash, so that a rerun finds the folder.
    ``check_provenance`` compares code and versions instead.
    """
    shape = {
        "seed": config.seed,
        "flip": config.data.flip,
        "model": asdict(config.model),
        "train": {key: getattr(config.train, key) for key in SHAPING},
        "inputs": input_digests,
    }
    if config.adapt.base:
        shape["adapt"] = asdict(replace(config.adapt, base=None))
    return f"{config.name}-{digest(shape)[:16]}"


def check_provenance(
    context: StageContext, store: Checkpoints, code: dict[str, str], begun: bool
) -> list[dict[str, Any]]:
    """Return the fingerprints of all code that made this training, the present code's last.

    Args:
        code: digests of the stage's modules, as a fingerprint has them.
        begun: whether there is a checkpoint.

    Raises:
        UserError: if other code made the checkpoints, unless ``context.allow_mismatch``.
    """
    name, now = f"{store.name}/{ORIGIN}", Fingerprint(code, {}, dict(context.input_digests))
    if not begun:
        if ended := _earlier(context.storage, Path(store.name).name):
            context.events.message(
                f"starts anew: run {ended[:8]} finished this training, and its checkpoints are gone"
            )
        return [asdict(now)]
    try:
        known: list[dict[str, Any]] = json.loads(context.storage.read(name))
        difference = now.difference(Fingerprint(**known[-1]))
    except (OSError, ValueError, TypeError, LookupError):
        known, difference = [], f"there is no record of it at {name}"
    if not difference:
        return known
    if not context.allow_mismatch:
        raise UserError(
            f"the checkpoints in {store.where} are of other code or versions: {difference}. Use "
            "--allow-mismatch to resume anyway; to start over, change the seed or delete that folder"
        )
    context.events.message(f"goes on although {difference}")
    return [*known, asdict(now)]


def _earlier(storage: Workspace, training: str) -> str | None:
    """Return the run that has finished a training, or None; MLflow may be away."""
    with suppress(UserError, MlflowException):
        client = existing_client(storage.local)
        for run in all_runs(client, f"tags.training = '{training}' and status = 'FINISHED'"):
            return str(run.info.run_id)
    return None


def refuse_rewind(where: str, state: Mapping[str, Any] | None, config: Config) -> None:
    """Raise ``UserError`` if a training has gone further than the configuration asks for."""
    if state is None:
        return
    seen, history = state["trainer"]["images_seen"], state["progress"]["history"]
    hint = f"to have it end earlier give it another seed, or delete {where}"
    if seen > config.train.images + config.train.batch_size:
        raise UserError(f"train.images: this training has seen {seen:,} images already; {hint}")
    limit = early_stopping_point(history, config.train.patience)
    if limit is not None and limit < len(history):
        images = history[limit - 1]["images"]
        raise UserError(
            f"train.patience: this training went on after {images:,.0f} images, where "
            f"{config.train.patience} scores had brought nothing better; {hint}"
        )


def stop_reason(config: Config, state: Mapping[str, Any]) -> str | None:
    """Return why a training with this state is finished, or None if it is not."""
    seen = state["trainer"]["images_seen"]
    if seen >= config.train.images:
        return f"{seen:,} images seen"
    patience = config.train.patience
    if early_stopping_point(state["progress"]["history"], patience) is None:
        return None
    return f"no better score in {patience} after {seen:,} images (train.patience)"
