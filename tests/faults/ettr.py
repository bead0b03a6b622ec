"""Measure the share of time that trains images which count, while workers are killed.

``python -m tests.faults.ettr --minutes 20 --every 120`` prints a line per kill, and that share in the
end. Each image counts once: repeated work after a restart does not count, nor does a score.
The campaign wants no other work on the machine.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bngan.serialization.checkpoint import CheckpointStore, load_checkpoint
from pipeline.config.schema import TrainConfig
from tests.faults.matrix import WORKER
from tests.faults.processes import marked
from tests.faults.world import World, short_folder

ENDLESS = (
    *("train.images=1000000000", "train.score_every=2000000", "train.max_failures=1000"),
    f"train.checkpoint_every_seconds={TrainConfig().checkpoint_every_seconds}",
)
"""A training with the default pace of checkpoints that only a signal ends."""
_PAUSE_S = 0.1


@dataclass(frozen=True)
class Point:
    """A checkpoint: when it was there, and the seconds of training that are in it."""

    at: float
    trained: float


def share(first: Point, last: Point) -> float:
    """Return the share of the time between two checkpoints that trained images which count."""
    return (last.trained - first.trained) / (last.at - first.at)


def lost(before: Point, killed: float, after: Point) -> tuple[float, float]:
    """Return the seconds that a kill has cost: of training that is repeated, and without any.

    Args:
        before: the last checkpoint before the kill.
        killed: when the worker was killed.
        after: a checkpoint after it.
    """
    repeated = killed - before.at
    return repeated, (after.at - before.at) - (after.trained - before.trained) - repeated


class Campaign:
    """Kills workers of a run one after the other, and ends the run.

    Args:
        minutes: how long it lasts, from the first checkpoint on.
        every: seconds between two kills; the first comes after half as many.
    """

    def __init__(self, world: World, minutes: float, every: float) -> None:
        self.world, self.seconds, self.every = world, 60 * minutes, every
        self.points = list[Point]()
        self.kills = list[tuple[float, int]]()
        """When, and the number of points by then."""

    def strike(self, driver: int) -> None:
        """Do it, and then end the driver by SIGTERM."""
        dice, begun = random.Random(0), time.time()
        while (now := time.time() - begun) < self.seconds:
            self._look()
            recovered = not self.kills or self.kills[-1][1] < len(self.points)
            if recovered and now > self.every * (len(self.kills) + 0.5):
                os.kill(dice.choice(sorted(marked(self.world.mark, WORKER))), signal.SIGKILL)
                self.kills.append((time.time(), len(self.points)))
            time.sleep(_PAUSE_S)
        os.kill(driver, signal.SIGTERM)

    def _look(self) -> None:
        """Note a new checkpoint."""
        (folder,) = self.world.workspace.glob("training/*")
        store = CheckpointStore(folder)
        newest = store.path(store.saved()[-1])
        at = newest.stat().st_ctime
        if not self.points or at > self.points[-1].at:
            progress = load_checkpoint(newest)["progress"]
            earlier = progress["history"][-1]["seconds"] if progress["history"] else 0.0
            trained = earlier + progress["window"].get("seconds", [0.0])[0]
            self.points.append(Point(at, trained))

    def report(self) -> Iterator[str]:
        """Yield a line for each kill that a checkpoint has followed, and one for all."""
        found = []
        for number, (killed, known) in enumerate(self.kills, 1):
            if known < len(self.points):
                found.append(lost(self.points[known - 1], killed, self.points[known]))
                repeated, without = found[-1]
                yield f"kill {number}: {repeated:.1f} s repeated, {without:.1f} s without training"
        first, last = self.points[0], self.points[-1]
        said = f"ETTR {share(first, last):.2f}: {len(found)} kills in {last.at - first.at:.0f} s"
        if found:
            repeated, without = (sum(column) / len(found) for column in zip(*found, strict=True))
            said += f", each of {repeated:.1f} s repeated and {without:.1f} s without training"
        yield said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--every", type=float, default=120, help="seconds between two kills")
    given = parser.parse_args()
    with World(short_folder(), server=False) as world:
        campaign = Campaign(world, given.minutes, given.every)
        until = 60 * given.minutes + 300
        ended = world.run(
            "train", *ENDLESS, when=world.trains, fault=campaign.strike, seconds=until
        )
        if campaign.points:
            print(*campaign.report(), sep="\n")
    if ended.code not in (143, -signal.SIGTERM):
        print(f"exit code {ended.code}: {ended.last}")
        sys.exit(1)


if __name__ == "__main__":
    main()
