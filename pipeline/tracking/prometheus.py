"""Gauges of a training for Prometheus; each node's Ray exports the gauges of its processes.

Worker 0 sets them when it sends a record to the driver, so they cost next to nothing if nobody
scrapes. Prometheus sees ``ray_`` before every name; infra/monitoring may query only these.
"""

import threading
import time
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
"""Description of each gauge by name; a value of a record has its name in the record."""
_REPEAT_EVERY_S = 4.0
"""Seconds between two settings of a value. Ray forgets one that is not set within 10 seconds."""


class Gauges:
    """Gauges of the training whose worker 0 is this process."""

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
        """Set the gauges that ``values`` has; of numbers by layer, take the largest."""
        ascending = sorted(values.items(), key=lambda item: item[1])
        largest = {name.split("/")[0]: value for name, value in ascending}
        for name in largest.keys() & self.gauges.keys():
            self.values[name] = largest[name]
            self.gauges[name].set(largest[name])

    def _keep(self) -> None:
        """Set the values again and again, so that they vanish when this process dies."""
        while True:
            time.sleep(_REPEAT_EVERY_S)
            for name, value in list(self.values.items()):
                self.gauges[name].set(value)

    def saved(self, seconds: float) -> None:
        """Set the time of the last checkpoint, and the seconds that saving took."""
        self.set({"checkpoint_seconds": seconds, "checkpoint_timestamp_seconds": time.time()})

    def telling(self, tell: Callable[[Record], Any]) -> Callable[[Record], None]:
        """Return a function that sets the gauges from a record, and then calls ``tell``."""

        def set_and_tell(record: Record) -> None:
            if "message" not in record:
                self.set({k: v for k, v in record.items() if isinstance(v, int | float)})
            tell(record)

        return set_and_tell


class Store(Protocol):
    """The part of a training's checkpoint store that gauges need."""

    on_saved: Callable[[float], None] | None
    """Called with the seconds that saving took."""

    def saved(self) -> list[int]:
        """Return the images seen at each checkpoint."""


def watched(
    settings: Mapping[str, Any], store: Store, tell: Callable[[Record], Any]
) -> Callable[[Record], Any]:
    """Return ``tell``, on worker 0 one that sets gauges too; ``store`` then sets them on saving."""
    if rank() != 0:
        return tell
    gauges = Gauges(settings["experiment"], settings["training"])
    store.on_saved = gauges.saved
    # At once, so that Prometheus sees a training that hangs before its first record.
    gauges.set({"images": max(store.saved(), default=0), "workers": world_size()})
    gauges.set({"images_wanted": settings["train"]["images"]})
    gauges.set({"worker_start_timestamp_seconds": time.time()})
    return gauges.telling(tell)
