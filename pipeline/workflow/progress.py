"""The progress of a configuration's training, read from the workspace alone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bngan.serialization.checkpoint import CheckpointError, load_checkpoint
from pipeline.config.schema import Config, SplitLaw
from pipeline.core.errors import UserError
from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.workflow.fingerprint import fingerprint, outputs_name
from pipeline.workflow.resume import stop_reason, training_id
from pipeline.workflow.stages import prepare, reference, train

Progress = Literal["finished", "begun", "not begun"]


def is_prepared(config: Config) -> bool:
    """Return whether the images of exactly this configuration are prepared; write nothing."""
    return any(_is_prepared(each) for each in _by_either_law(config))


def _by_either_law(config: Config) -> Iterator[Config]:
    """Yield the configurations that this one may mean, since only MLflow knows what auto means."""
    laws: tuple[SplitLaw, ...] = ("order", "content")
    for law in laws if config.data.split_by == "auto" else (config.data.split_by,):
        yield replace(config, data=replace(config.data, split_by=law))


def _is_prepared(config: Config) -> bool:
    try:
        name = outputs_name(prepare.STAGE, fingerprint(prepare.STAGE, config, {}))
    except UserError:
        return False
    return not Workspace(config.workspace).damage(name)


def training_progress(config: Config) -> Progress:
    """Return the progress of the training of exactly this configuration; write nothing.

    Other trainings in the workspace do not count, nor does a training on other images.
    """
    found = {_training_progress(each) for each in _by_either_law(config)}
    order: tuple[Progress, ...] = ("finished", "begun", "not begun")
    return next(each for each in order if each in found)


def _training_progress(config: Config) -> Progress:
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
