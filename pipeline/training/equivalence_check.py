"""Compare a real training step on the configured workers with the same step in one process."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from bngan.distributed.collectives import rank
from bngan.serialization.checkpoint import TENSORS, save_checkpoint
from pipeline.cluster import launch as cluster
from pipeline.config.schema import Config
from pipeline.storage.workspace import Workspace
from pipeline.training.factory import build_trainer, trainer_settings
from pipeline.training.preconditions import require_gradient, require_sound

LIMIT = 1e-9
"""Largest difference in float64 that counts as rounding."""


@dataclass(frozen=True)
class Difference:
    """Difference between several workers and one, in a part of the trainer's state after one step.

    ``exact`` is the largest difference in float64, found in tensor ``where``. ``relative`` is the
    largest in float32, relative to the largest element of its tensor.
    """

    part: str
    exact: float
    where: str
    relative: float


def compare(config: Config, prepared: Path, reference: Path | None) -> tuple[list[Difference], str]:
    """Return the differences by part, and number and kind of the workers in words.

    ``reference``: output folder of that stage, which has the base of an adaptation.

    Raises:
        UserError: if the cluster cannot hold the workers, or the networks cannot learn from the images.
    """
    require_sound(config, prepared)
    if reference:
        require_gradient(config, reference)
    storage = Workspace(config.workspace)
    settings = trainer_settings(
        config, storage.key(prepared), storage.key(reference) if reference else None
    )
    with storage.scratch("check") as temporary:
        alone = temporary / "alone"
        _save(_here(settings, storage), "cpu", alone)
        together, ray_files = temporary / "together", temporary / "ray"
        where = {"workspace": storage.workspace, "folder": storage.key(together)}
        workers = cluster.run_training_workers(
            _worker,
            {**settings, **where},
            name="workers",
            storage=storage.for_ray(ray_files),
            num_workers=config.train.workers,
            accelerator=config.train.accelerator,
            max_failures=0,
            on_record=lambda record: None,
        )
        one, several = (load_file(f / TENSORS) for f in (alone, storage.path(where["folder"])))
    parts = sorted({key.split("/")[2] for key in one})
    return [_difference(part, one, several) for part in parts], workers


def _worker(settings: dict[str, Any]) -> None:
    from ray.train.torch import get_device

    torch.set_num_threads(settings["train"]["threads_per_worker"])
    storage = Workspace(settings["workspace"])
    _save(_here(settings, storage), get_device(), storage.local / settings["folder"])
    if rank() == 0:
        storage.publish(settings["folder"])


def _here(settings: dict[str, Any], storage: Workspace) -> dict[str, Any]:
    """Return the settings with the folders' paths on this machine."""
    names = [name for name in ("prepared", "reference") if settings[name]]
    return {**settings, **{name: str(storage.path(settings[name])) for name in names}}


def _save(settings: dict[str, Any], device: torch.device | str, folder: Path) -> None:
    """Take the step in both precisions; worker 0 writes the resulting states into ``folder``."""
    states = {}
    for dtype in (torch.float64, torch.float32):
        trainer, data = build_trainer(settings, device, dtype)
        trainer.fit(data, trainer.config.batch_size * trainer.config.discriminator_steps)
        states[str(dtype)] = trainer.state_dict()
    if rank() == 0:
        save_checkpoint(folder, states)


def _difference(part: str, alone: dict[str, Any], together: dict[str, Any]) -> Difference:
    exact, where, relative = 0.0, "", 0.0
    for key, expected in alone.items():
        _, dtype, name, *rest = key.split("/")
        if name != part:
            continue
        largest = (together[key].double() - expected.double()).abs().max().item()
        # A NaN would vanish in a maximum.
        largest = largest if math.isfinite(largest) else math.inf
        if dtype == str(torch.float64):
            exact, where = max((exact, where), (largest, "/".join(rest)))
        else:
            relative = max(relative, largest / max(expected.double().abs().max().item(), 1e-30))
    return Difference(part, exact, where, relative)
