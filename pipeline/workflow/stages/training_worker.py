"""Run a training on a Ray worker.

Nothing here imports MLflow: that takes a second, for which a training waits whose workers start anew.
"""

from typing import Any

from bngan.distributed.collectives import rank
from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.tracking.prometheus import watched
from pipeline.training.loop import TrainingAborted, TrainingLoop


def train(settings: dict[str, Any]) -> None:
    """Run the training loop on a Ray worker."""
    import torch
    from ray.train import get_preemption_info
    from ray.train.torch import get_device

    torch.set_num_threads(settings["train"]["threads_per_worker"])
    torch.set_flush_denormal(True)  # before other threads start, which inherit it
    storage = Workspace(settings["workspace"])
    here = {key: str(storage.path(settings[key])) for key in ("prepared", "reference")}
    store = Checkpoints(storage, settings["training"])
    tell = watched(settings, store, settings["queue"].put)
    loop = TrainingLoop(
        {**settings, **here},
        get_device(),
        store,
        tell,
        preempted=lambda: get_preemption_info() is not None,
    )
    try:
        loop.run()
    except TrainingAborted as error:
        # Return normally: after an exception Ray would try again.
        if rank() == 0:
            tell({"gave_up": str(error)})
