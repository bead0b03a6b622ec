"""The number of images in one pass, where the configuration leaves it to the GPUs' memory."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch

from bngan.distributed.collectives import broadcast_from_rank0, rank
from bngan.training.memory import largest_pass
from pipeline.storage.checkpoints import Checkpoints
from pipeline.training.factory import training_inputs

_FILE = "micro_batch.json"


def with_micro_batch(
    settings: Mapping[str, Any],
    device: torch.device | str,
    store: Checkpoints,
    tell: Callable[[dict[str, Any]], None],
) -> Mapping[str, Any]:
    """Return the settings with a number in place of ``micro_batch: auto``; a collective.

    The number is found once, and recorded beside the checkpoints: a training that continues, on
    whatever GPUs, keeps it.

    Args:
        settings: those of ``build_trainer``.
        tell: called with a message on worker 0.

    Raises:
        torch.OutOfMemoryError: on every worker, if no pass fits into memory.
    """
    if settings["train"]["micro_batch"] != "auto":
        return settings
    (number,) = broadcast_from_rank0(_recorded(store) if rank() == 0 else 0)
    if not number:
        data, model, optimization = training_inputs(settings)
        number = largest_pass(model, optimization, data.spec, device)
        if rank() == 0:
            content = json.dumps({"micro_batch": int(number)}).encode()
            store.storage.write(f"{store.name}/{_FILE}", content)
    batch = settings["train"]["batch_size"]
    tell({"message": f"train.micro_batch=auto: {int(number)} of {batch} images in one pass"})
    train = {**settings["train"], "micro_batch": int(number)}
    if train["data_on_device"] == "auto":
        train["data_on_device"] = "never"  # the pass may fill the memory
    return {**settings, "train": train}


def _recorded(store: Checkpoints) -> int:
    """Return the number of an earlier start of the training, or 0."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads(store.storage.read(f"{store.name}/{_FILE}"))["micro_batch"])
    return 0
