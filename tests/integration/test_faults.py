"""Workers, machines and drivers that die under a real Ray Train: training ends as if they had not."""

import os
import platform
import random
import re
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bngan.serialization.checkpoint import CheckpointStore
from pipeline.cluster import launch as cluster
from tests.distributed import loop as loop_module
from tests.distributed.loop import checkpoints, in_storage, outcome, prepare, run_loop
from tests.workers import run_workers

WAITING = 60.0
KILLS = 20


def page_faults() -> int:
    """Of four maps of 4 MB, 4,096 pages, freed and asked for again nine times."""
    import torch

    for turn in range(10):
        maps = [torch.ones(2**20) for _ in range(4)]
        del maps
        if turn == 0:
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


def first_time(storage: Path, name: str) -> bool:
    try:
        (storage / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def faulty_worker(settings: dict[str, Any]) -> None:
    """The training loop, slowed down, with the faults that ``settings`` asks for, each once."""
    import torch
    from ray import train

    from bngan.distributed.collectives import rank
    from pipeline.training import loop as training

    training._SAVING_SHARE = float("inf")  # as often as the clock says, whatever it costs
    storage = checkpoints(settings).folder

    once = partial(first_time, storage)
    began: list[int] = []

    def between_breaths() -> bool:
        seen = loop.trainer.images_seen
        if rank() == 0 and not began:
            began.append(seen)
            with (storage / "began").open("a") as file:
                file.write(f"{seen}\n")
        time.sleep(settings["pause"])
        faults = settings["faults"]
        if rank() == 1 and seen >= 150 and "exception" in faults and once("exception"):
            raise RuntimeError("a bug on worker 1")
        if rank() == 0 and seen >= 350 and "kill" in faults and once("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if rank() == 1 and seen >= 500 and "bit" in faults and once("bit"):
            next(loop.trainer.generator.parameters()).data.view(torch.int32).view(-1)[0] ^= 1 << 20
        if "random" in faults and random.random() < 0.1 and seen > 120:
            left = KILLS - len(list(storage.glob("kill-*")))
            if left > 0 and once(f"kill-{KILLS + 1 - left:02d}-at-{seen}"):
                os.kill(os.getpid(), signal.SIGKILL)
        if rank() == 1 and seen >= 150 and "node" in faults and once("node.begun"):
            node = train.get_context().get_node_rank()
            import ray

            (storage / "node").write_text(f"{node} {ray.get_runtime_context().get_node_id()}")
        return train.get_preemption_info() is not None

    torch.set_num_threads(1)
    (storage / f"page_faults-{rank()}").write_text(str(page_faults()))
    loop = training.TrainingLoop(
        settings, "cpu", checkpoints(settings), settings["queue"].put, between_breaths
    )
    loop.breath = 24
    loop.run()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return prepare(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(
    settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, Any]:
    """What two workers make of it without Ray and without faults."""
    storage = tmp_path_factory.mktemp("undisturbed") / "x"
    run_workers(2, run_loop, in_storage(settings, storage))
    return outcome(storage)


@pytest.fixture
def machines() -> Iterator[Any]:
    """A Ray cluster of three machines with a core each, beside a head without."""
    import ray
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    import tests.integration.test_faults as here

    for module in (here, loop_module):
        cloudpickle.register_pickle_by_value(module)
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    found.machines = [found.add_node(num_cpus=1) for _ in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", found.address)
        patch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.2")
        yield found
    ray.shutdown()
    found.shutdown()


def fit(
    settings: dict[str, Any], storage: Path, faults: str, pause: float, **train: Any
) -> list[dict[str, Any]]:
    """Train with faults; return what the workers told."""
    told: list[dict[str, Any]] = []
    disturbed = in_storage(settings, storage, **train)
    disturbed |= {"faults": faults, "pause": pause}
    cluster.run_training_workers(
        faulty_worker,
        disturbed,
        name="faults",
        storage={"storage_path": str(storage / "ray")},
        num_workers=(2, 2),
        accelerator="cpu",
        max_failures=KILLS + 5,
        on_record=told.append,
    )
    return told


def beginnings(storage: Path) -> list[int]:
    """Images seen at the first look of every attempt: none but the first began at the beginning."""
    found = [int(line) for line in (storage / "began").read_text().split()]
    assert found == sorted(found)
    assert all(seen > 100 for seen in found[1:3])
    return found


def when(condition: Callable[[], bool], action: Callable[[], None]) -> threading.Thread:
    """Do something in the background as soon as a condition holds."""

    def watch() -> None:
        deadline = time.monotonic() + WAITING
        while time.monotonic() < deadline:
            if condition():
                action()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_workers_that_fail_or_are_killed(
    settings: dict[str, Any], undisturbed: tuple[bytes, Any], tmp_path: Path
) -> None:
    storage = tmp_path / "x"
    os.environ.pop("RAY_ADDRESS", None)
    told = fit(settings, storage, "exception kill bit", 0.0)
    assert all((storage / name).exists() for name in ("exception", "kill", "bit"))
    (message,) = [record["message"] for record in told if "message" in record]
    found = r"step \d+: workers 0 and 1 differ in generator\..*: back to \d+ images"
    assert re.fullmatch(found, message)
    if platform.libc_ver()[0] == "glibc":
        assert int((storage / "page_faults-0").read_text()) < 400
    assert len(beginnings(storage)) == 4
    assert outcome(storage) == undisturbed


def host_of_worker_1(machines: Any, storage: Path) -> Any:
    node_id = (storage / "node").read_text().split()[1]
    (found,) = [machine for machine in machines.machines if machine.node_id == node_id]
    return found


def told_where(storage: Path) -> Callable[[], bool]:
    return lambda: (storage / "node").exists() and bool((storage / "node").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_twenty_kills_at_random_moments(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_workers(2, run_loop, in_storage(settings, tmp_path / "undisturbed", images=6000))
    storage, started = tmp_path / "x", time.monotonic()
    os.environ.pop("RAY_ADDRESS", None)
    fit(settings, storage, "random", 0.0, images=6000)
    kills = sorted(path.name for path in storage.glob("kill-*"))
    with capsys.disabled():
        print(f"\n{len(kills)} kills in {time.monotonic() - started:.0f} s: {kills}")
    assert len(kills) == KILLS
    began = beginnings(storage)
    assert len(began) == KILLS + 1
    assert began[-1] > 500
    assert outcome(storage) == outcome(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_machine_that_dies(
    machines: Any, settings: dict[str, Any], undisturbed: tuple[bytes, Any], tmp_path: Path
) -> None:
    storage = tmp_path / "x"

    def kill() -> None:
        machines.remove_node(host_of_worker_1(machines, storage), allow_graceful=False)

    killer = when(told_where(storage), kill)
    fit(settings, storage, "node", 0.1)
    killer.join(WAITING)
    assert len(machines.list_all_nodes()) == 3
    assert outcome(storage) == undisturbed


@pytest.mark.slow
def test_a_machine_that_is_drained_saves_in_its_grace_period(
    machines: Any, settings: dict[str, Any], undisturbed: tuple[bytes, Any], tmp_path: Path
) -> None:
    from ray._raylet import GcsClient

    storage, saved = tmp_path / "x", list[int]()

    def drain() -> None:
        machine = host_of_worker_1(machines, storage)
        deadline = int((time.time() + 8) * 1000)
        GcsClient(address=machines.address).drain_node(machine.node_id, 2, "test", deadline)
        while not saved and time.time() * 1000 < deadline:
            saved.extend(CheckpointStore(storage).saved())
            time.sleep(0.05)
        machines.remove_node(machine, allow_graceful=False)

    drainer = when(told_where(storage), drain)
    # No checkpoint by the clock: what is saved is saved because the machine is to go.
    fit(settings, storage, "node", 0.4, checkpoint_every_seconds=1e9)
    drainer.join(WAITING)
    assert saved
    assert 150 <= saved[0] < 600
    assert beginnings(storage)[-1] > saved[0]
    assert outcome(storage) == undisturbed
