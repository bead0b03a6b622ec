"""A training's numbers for Prometheus, by way of Ray: every node exports those of its processes.

Worker 0 sets them when it tells the driver, so that they cost next to nothing where nobody scrapes.
Prometheus sees ``ray_`` before every name; what is here is what infra/monitoring may ask for.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from bngan.distributed.collectives import rank, world_size

Record = dict[str, Any]
"""Numbers of a training at a point of it, or a message."""
PREFIX = "bngan_"
TAGS = ("experiment", "training")
GAUGES = {
    "images": "real images that the discriminator has seen",
    "images_wanted": "train.images",
    "images_per_second": "since the record before",
    "workers": "data-parallel workers now",
    "worker_start_timestamp_seconds": "when worker 0 started: it starts anew with all others",
    "loss_d": "loss of the discriminator, mean since the record before",
    "loss_g": "loss of the generator, mean since the record before",
    "logit_gap": "mean logit of real images less that of generated ones",
    "gradient_norm_d": "of the discriminator, mean since the record before",
    "gradient_norm_g": "of the generator, mean since the record before",
    "fid_select": "Frechet distance on the select split",
    "inception_score_select": "on the select split, by the features' own classifier",
    "classes_hit_select": "classes among generated images",
    "batch_mate_sensitivity": "how much of an image its batch decides, 0 to 2",
    "running_distance": "from running to calibrated batch-norm statistics, largest of all layers",
    "worker_distance": "what statistics per worker would get wrong, largest of all layers",
    "small_gammas": "share of batch-norm scales below 0.01",
    "alarms": "signs of collapse in the last record",
    "rollbacks": "times that training went back to an earlier checkpoint",
    "checkpoint_timestamp_seconds": "when the last checkpoint was complete",
    "checkpoint_seconds": "how long saving it took",
}
"""Every one of them and what it says; a record's values by their names there."""
_AGAIN = 4.0
"""Ray forgets a value that is not set again in each of its intervals, which are 10 seconds."""


class Gauges:
    """Those of the training that this process is worker 0 of."""

    def __init__(self, experiment: str, training: str) -> None:
        from ray.util.metrics import Gauge

        tags = {"experiment": experiment, "training": Path(training).name}
        self.gauges = {
            name: Gauge(PREFIX + name, text, TAGS).set_default_tags(tags)
            for name, text in GAUGES.items()
        }
        self.values: dict[str, float] = {}
        threading.Thread(target=self._keep, name="gauges", daemon=True).start()

    def set(self, values: Mapping[str, float]) -> None:
        """Of numbers by layer the largest; what nobody asks for is left out."""
        found = defaultdict[str, list[float]](list)
        for name, value in values.items():
            found[name.split("/")[0]].append(value)
        for name in found.keys() & self.gauges.keys():
            self.values[name] = max(found[name])
            self.gauges[name].set(self.values[name])

    def _keep(self) -> None:
        """For as long as this process lives: what has died is to be seen no more."""
        while True:
            time.sleep(_AGAIN)
            for name, value in list(self.values.items()):
                self.gauges[name].set(value)

    def saved(self, seconds: float) -> None:
        """Note that a checkpoint is complete, and how long it took."""
        self.set({"checkpoint_seconds": seconds, "checkpoint_timestamp_seconds": time.time()})

    def telling(self, tell: Callable[[Record], Any]) -> Callable[[Record], None]:
        """``tell``, and set what is told."""

        def set_and_tell(record: Record) -> None:
            if "message" not in record:
                self.set({k: v for k, v in record.items() if isinstance(v, int | float)})
            tell(record)

        return set_and_tell


class Store(Protocol):
    """The checkpoints of a training, as far as gauges follow them."""

    on_saved: Callable[[float], None] | None
    """Called with the seconds that saving took."""

    def saved(self) -> list[int]:
        """Images seen at each checkpoint."""


def watched(
    settings: Mapping[str, Any], store: Store, tell: Callable[[Record], Any]
) -> Callable[[Record], Any]:
    """Return ``tell``; on worker 0 one that sets gauges too, as ``store`` does when it has saved."""
    if rank() != 0:
        return tell
    gauges = Gauges(settings["experiment"], settings["training"])
    store.on_saved = gauges.saved
    # At once, so that a training which hangs before its first record is seen to.
    gauges.set({"images": max(store.saved(), default=0), "workers": world_size()})
    gauges.set({"images_wanted": settings["train"]["images"]})
    gauges.set({"worker_start_timestamp_seconds": time.time()})
    return gauges.telling(tell)
