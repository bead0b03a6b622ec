"""Small runs killed at random moments, over and over: what they leave, and what a long life costs.

``python -m tests.faults.soak --minutes 120`` says a line per round, and in the end a verdict.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from mlflow import MlflowClient

from bngan.data.dataset import ImageSplit
from bngan.generation.sampler import Sampler
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Features
from bngan.metrics.scores import point_scores
from bngan.networks.config import ModelConfig
from bngan.training.config import OptimizationConfig
from bngan.training.trainer import Trainer
from pipeline.storage.artifacts import SELECT_FEATURES
from tests.faults.matrix import LINGERS, WORKER, undisturbed
from tests.faults.processes import left, marked, shared_memory
from tests.faults.world import Ended, World, short_folder

TRIES = 5
WARM = 3
"""Rounds before growth is measured: caches fill."""
MEMORY, DISK = 32.0, 8.0
"""MB that a long life, and the workspace without MLflow's books, may grow by in all."""
KEPT = ("prepare", "reference")
CODES = {
    "Ctrl-C": (130, -signal.SIGINT),  # while it imports, nothing is open yet
    "SIGTERM": (143, -signal.SIGTERM),
    "SIGKILL": (-signal.SIGKILL,),
    "worker killed": (),
    "worker stopped for 5 s": (),
}


@dataclass
class Round:
    """What a round has left, in numbers that must not grow."""

    fault: str
    at: float
    """Seconds after the start."""
    struck: bool
    """Or the run was over, or had no worker yet."""
    codes: list[int | None]
    last: list[str]
    """What each run that was not done said last."""
    seconds: float
    disk: float
    """MB of the workspace after gc, without MLflow's books."""
    books: float
    """MB of database and artifacts: what is deleted in MLflow stays there until its own gc."""
    temporary: int
    """Files and folders in the temporary folder but Ray's."""
    sessions: int
    """Of Ray, in the temporary folder."""
    descriptors: int
    threads: int
    memory: float
    """MB of this process, which trains, samples and scores in each round."""
    problems: list[str]


def strike(world: World, fault: str, struck: list[str]) -> Callable[[int], None]:
    """What does it to a driver, or to a worker of its if there is one by then; noted in ``struck``."""

    def act(pid: int) -> None:
        if not fault.startswith("worker"):
            number = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}.get(fault)
            os.kill(pid, number or signal.SIGKILL)
            struck.append(fault)
        elif workers := list(marked(world.mark, WORKER)):
            os.kill(workers[0], signal.SIGKILL if fault.endswith("killed") else signal.SIGSTOP)
            struck.append(fault)
            if not fault.endswith("killed"):
                time.sleep(5)
                os.kill(workers[0], signal.SIGCONT)

    return act


def disturbed(world: World, fault: str, at: float) -> tuple[list[Ended], bool]:
    """A run with the fault, and the same again until it is done; whether it was struck."""
    over, struck = time.monotonic() + at, list[str]()
    act = strike(world, fault, struck)

    def due(_: str) -> bool:
        there = not fault.startswith("worker") or bool(marked(world.mark, WORKER))
        return time.monotonic() > over and there

    ends = [world.run("register", when=due, fault=act)]
    while ends[-1].code and len(ends) < TRIES:
        ends.append(world.run("register"))
    return ends, bool(struck)


def forget(world: World) -> None:
    """Delete all runs but those that every round stands on, and what only they referred to."""
    client = MlflowClient(f"sqlite:///{world.books}")
    for run in client.search_runs(["1"], max_results=1000):
        if run.data.tags.get("stage") not in KEPT:
            client.delete_run(run.info.run_id)
    command = [sys.executable, "-m", "pipeline", "gc", "--delete", "--workspace"]
    subprocess.run(
        [*command, str(world.workspace)], check=True, env=world.environment, capture_output=True
    )


def live(world: World) -> None:
    """What a process does that calls the library for days."""
    (prepared,) = world.workspace.glob("stages/prepare/[!.]*")
    (reference,) = world.workspace.glob("stages/reference/[!.]*")
    data, model = ImageSplit.load(prepared, "train"), ModelConfig("mlp")
    trainer = Trainer(model, OptimizationConfig(batch_size=64), data.spec, seed=0)
    trainer.fit(data, 6400)
    sampler = Sampler(model, data.spec, trainer.ema.module.state_dict())
    real = Features.load(reference / SELECT_FEATURES)
    point_scores(load_extractor(reference)(sampler.images(0, range(350))), real)


def megabytes(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def status(name: str) -> float:
    """A number of this process, as the system tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def one(world: World, dice: random.Random, expected: dict[str, object], long: float) -> Round:
    """A round: fault, reruns, what is wrong then, and what is left after cleaning up."""
    fault, at = dice.choice(list(CODES)), dice.uniform(1, long)
    memory, started = shared_memory(), time.monotonic()
    ends, struck = disturbed(world, fault, at)
    problems = [] if ends[-1].code == 0 else [f"not done: {ends[-1].last}"]
    if ends[0].code not in (0, *CODES[fault]):
        problems.append(f"exit code {ends[0].code}: {ends[0].last}")
    seconds = time.monotonic() - started
    problems += [f"process left: {line[:60]}" for line in left(world.mark, LINGERS).values()]
    problems += [f"shared memory left: {name}" for name in shared_memory() - memory]
    problems += world.trouble()
    problems += [f"{k}: not as undisturbed" for k in expected if world.result(k) != expected[k]]
    live(world)
    forget(world)
    temporary = world.folder / "tmp"
    books = world.books.stat().st_size / 1e6 + megabytes(world.workspace / "artifacts")
    return Round(
        fault,
        round(at, 1),
        struck,
        [end.code for end in ends],
        [end.last for end in ends if end.code != 0],
        round(seconds, 1),
        round(megabytes(world.workspace) - books, 2),
        round(books, 2),
        sum(path.name != "ray" for path in temporary.iterdir()),
        len(list(temporary.glob("ray/session_2*"))),
        len(list(Path("/proc/self/fd").iterdir())),
        int(status("Threads")),
        round(status("VmRSS") / 1000, 1),
        problems,
    )


def verdict(rounds: list[Round]) -> list[str]:
    """What is wrong with them all together."""
    found = [f"round {i}: {problem}" for i, r in enumerate(rounds, 1) for problem in r.problems]
    if not any(each.struck for each in rounds):
        found.append("no fault has struck")
    warm = rounds[WARM - 1 :]
    if len(warm) < 2:
        return [*found, f"too few rounds to tell growth: {len(rounds)}"]
    first, last = warm[0], warm[-1]
    for name, allowed in (("memory", MEMORY), ("disk", DISK), ("descriptors", 0), ("threads", 0)):
        grown = getattr(last, name) - getattr(first, name)
        steady = all(getattr(b, name) > getattr(a, name) for a, b in pairwise(warm))
        if grown > allowed or (steady and len(warm) > 5 and not allowed):
            found.append(f"{name} grew by {grown:.1f} in {len(warm)} rounds")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    dice, rounds = random.Random(given.seed), list[Round]()
    with World(short_folder(), server=False) as world:
        started = time.monotonic()
        expected = undisturbed(world)
        forget(world)
        long = time.monotonic() - started
        end = time.monotonic() + 60 * given.minutes
        while time.monotonic() < end:
            rounds.append(one(world, dice, expected, long / 3))
            print(len(rounds), asdict(rounds[-1]), flush=True)
    found = verdict(rounds)
    struck = sum(each.struck for each in rounds)
    print(
        f"{len(rounds)} rounds, {struck} struck; "
        + ("; ".join(found) or "nothing leaks, nothing grows")
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
