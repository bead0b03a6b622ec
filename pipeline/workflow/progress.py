"""The progress of a configuration's training, read from the workspace alone."""

from pathlib import Path
from typing import Literal

from bngan.serialization.checkpoint import CheckpointError, load_checkpoint
from pipeline.config.schema import Config
from pipeline.core.errors import UserError
from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.workflow.fingerprint import fingerprint, outputs_name
from pipeline.workflow.resume import stop_reason, training_id
from pipeline.workflow.stages import prepare, reference, train


def is_prepared(config: Config) -> bool:
    """Return whether the images of exactly this configuration are prepared; write nothing."""
    try:
        name = outputs_name(prepare.STAGE, fingerprint(prepare.STAGE, config, {}))
    except UserError:
        return False
    return not Workspace(config.workspace).damage(name)


def training_progress(config: Config) -> Literal["not begun", "begun", "finished"]:
    """Return the progress of the training of exactly this configuration; write nothing.

    Other trainings in the workspace do not count, nor does a training on other images.
    """
    storage, folders = Workspace(config.workspace), dict[str, Path]()
    for stage in (prepare.STAGE, reference.STAGE):
        try:
            name = outputs_name(stage, fingerprint(stage, config, folders))
        except UserError:  # for example, the images are gone
            return "not begun"
        if storage.damage(name):
            return "not begun"
        folders[stage.name] = storage.local / name
    current = fingerprint(train.STAGE, config, folders)
    if not storage.damage(outputs_name(train.STAGE, current)):
        return "finished"
    store = Checkpoints(storage, f"training/{training_id(config, current.inputs)}")
    if not (saved := store.saved()):
        return "not begun"
    try:
        state = load_checkpoint(store.path(saved[-1]))
    except CheckpointError:
        return "begun"
    return "finished" if stop_reason(config, state) else "begun"
