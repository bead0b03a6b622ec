"""Start or join Ray, and run training workers, tasks and trials on it."""

import json
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bngan.serialization.problem import first_line
from pipeline.cluster.address import require_cluster, socket_folder_problem, unavailable
from pipeline.cluster.relay import checked_worker, fit_and_relay
from pipeline.cluster.working_dir import checked, working_folder
from pipeline.core.environment import (
    cluster_address,
    on_loopback_alone,
    own_token,
    required,
    workers_defaults,
)
from pipeline.core.errors import UserError
from pipeline.core.ray_internals import OVERRIDE_JOB_ENVIRONMENT, hangups_held_back, on_loopback
from pipeline.core.waiting import beside_the_main_thread

Record = dict[str, Any]
"""A training worker's report to the driver: plain values and bytes."""


def run_training_workers(
    worker: Callable[[dict[str, Any]], None],
    settings: dict[str, Any],
    *,
    name: str,
    storage: Mapping[str, Any],
    num_workers: tuple[int, int],
    accelerator: str,
    max_failures: int,
    on_record: Callable[[Record], None],
) -> str:
    """Run ``worker(settings)`` on every worker, and return their number and kind in words.

    If a worker dies, all of them are replaced. The workers find the point to resume at themselves.

    Args:
        worker: function of the settings, in which ``queue`` takes records from rank 0.
        settings: plain values.
        name: Ray's name of the run.
        storage: Ray's arguments for a place that all nodes see, where Ray keeps its files.
        num_workers: (min, max); the number follows the resources of the cluster.
        accelerator: auto, cpu or gpu.
        max_failures: how often workers are replaced.
        on_record: called here with each record.

    Raises:
        UserError: if the cluster has no room for so many workers, or a worker has other code.
    """
    with _ray():
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        (least, most), use_gpu = resolve_workers(total, num_workers, accelerator)
        if problem := missing_workers(total, least, use_gpu):
            raise UserError(problem)
        failures = FailureConfig(max_failures=max_failures, controller_failure_limit=3)  # type: ignore[call-arg]
        queue = _queue_beside_the_driver()
        trainer = TorchTrainer(
            checked_worker(worker),
            train_loop_config={**settings, "queue": queue},
            scaling_config=ScalingConfig(
                num_workers=least if least == most else (least, most),  # type: ignore[arg-type]
                use_gpu=use_gpu,
            ),
            run_config=RunConfig(
                name=name,
                **storage,
                failure_config=failures,
                worker_runtime_env={"env_vars": workers_defaults()},  # type: ignore[call-arg]
            ),
        )
        fit_and_relay(trainer.fit, queue, on_record)
    count = str(least) if least == most else f"{least}-{most}"
    return f"{count} {'GPU' if use_gpu else 'CPU'} workers"


def map_tasks(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], accelerator: str
) -> Iterator[Any]:
    """Yield ``function(*task, device)`` of every task, in the order of the tasks.

    Tasks run on the cluster at RAY_ADDRESS. Without one they run on the GPUs of this machine, if it has
    several. Otherwise they run in this process, one after the other: on CPUs a task uses all threads.

    Raises:
        UserError: if a worker has other code.
    """
    import torch

    device = local_device(accelerator)
    if cluster_address() is None and (device == "cpu" or torch.cuda.device_count() < 2):
        yield from (function(*task, device) for task in tasks)
        return
    with _ray():
        import ray

        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        use_gpu = accelerator != "cpu" and resources.get("GPU", 0) >= 1
        device, slots = ("cuda", "GPU") if use_gpu else ("cpu", "CPU")
        run = checked(lambda index: function(*tasks[index], device))
        remote = ray.remote(num_cpus=1, num_gpus=int(use_gpu))(run)
        ahead = 2 * max(int(resources.get(slots, 1)), 1)
        pending = deque(remote.remote(index) for index in range(len(tasks))[:ahead])
        for index in range(len(tasks)):
            if index + ahead < len(tasks):
                pending.append(remote.remote(index + ahead))
            problem, result = ray.get(pending.popleft())
            if problem:
                raise UserError(problem)
            yield result


def run_trials(
    function: Callable[[Any], dict[str, Any]],
    tasks: Sequence[Any],
    *,
    name: str,
    storage: Mapping[str, Any],
    at_once: int,
    on_result: Callable[[int, dict[str, Any]], None],
) -> None:
    """Run ``function(task)`` for every task, as trials of Ray Tune on one CPU each.

    Args:
        function: returns a record of plain values.
        tasks: what the function takes.
        name: Tune's name of the run.
        storage: Ray's arguments for a place that all nodes see, where Tune keeps its files.
        at_once: number of trials that run together.
        on_result: called here with the number of the task and its record, as trials end.

    Raises:
        UserError: when all trials have ended, if a worker had other code.
        RuntimeError: when all trials have ended, if any of them failed.
    """
    with _ray():
        from ray import tune

        run, refused = checked(lambda index: function(tasks[index])), list[str]()

        def trainable(chosen: dict[str, int]) -> None:
            problem, record = run(chosen["index"])
            # As text, since Tune's own logs would split lists.
            tune.report({"record": json.dumps(record), "refused": problem})

        def report(result: dict[str, Any]) -> None:
            if result["refused"]:
                refused.append(result["refused"])
            else:
                on_result(result["config"]["index"], json.loads(result["record"]))

        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"index": tune.grid_search(list(range(len(tasks))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=at_once, reuse_actors=True),
            run_config=tune.RunConfig(
                name=name, callbacks=[_callback(report)], verbose=0, **storage
            ),
        )
        grid = beside_the_main_thread(tuner.fit).result()
        if refused:
            raise UserError(refused[0])
        if grid.errors:
            lines = str(grid.errors[0]).strip().splitlines()
            raise RuntimeError(f"{len(grid.errors)} trials failed; the first: {lines[-1]}")


def _callback(report: Callable[[dict[str, Any]], None]) -> Any:
    """Return Tune's callback that passes each result of a trial to ``report``."""
    from ray import tune

    class ReportResults(tune.Callback):
        def __reduce__(self) -> Any:
            return object, ()  # Tune pickles it to resume a study, which we do ourselves

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: dict[Any, Any], **info: Any
        ) -> None:
            report(result)

    return ReportResults()


@contextmanager
def _ray() -> Iterator[None]:
    """Join the cluster at RAY_ADDRESS (set inside a Ray job), or start one for this run alone."""
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            _connect()
        except SystemExit:
            # Ray has replaced our SIGTERM handler. Restore it, and raise the signal again, so
            # that open runs are closed.
            signal.signal(signal.SIGTERM, handler)
            signal.raise_signal(signal.SIGTERM)
            raise
        signal.signal(signal.SIGTERM, handler)
        yield
    finally:
        ray.shutdown()


def _connect() -> None:
    """Connect this process with Ray; workers get a copy of its code, and import that."""
    import ray

    require_cluster()
    # The working directory of a job is the user's: it need not have this code.
    os.environ[OVERRIDE_JOB_ENVIRONMENT] = "1"
    with working_folder() as folder:
        common: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "WARNING",
            "runtime_env": {"working_dir": str(folder), "env_vars": required()},
        }
        if address := cluster_address():
            try:
                ray.init(address=address, **common)
            except ConnectionError as error:
                raise unavailable(address, first_line(error)) from error
        else:
            if problem := socket_folder_problem():
                raise UserError(problem)
            own_token()
            # A local cluster is never preempted: start no preemption watcher.
            os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
            common["runtime_env"]["env_vars"] |= on_loopback_alone()
            with hangups_held_back(), on_loopback():
                ray.init(address="local", num_cpus=cores(), include_dashboard=False, **common)


def _queue_beside_the_driver() -> Any:
    """Create the queue on the driver's node: elsewhere it could die with a replaceable machine."""
    from ray import get_runtime_context
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(get_runtime_context().get_node_id(), soft=False)
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})


def cores() -> int:
    """Return the CPUs of a local cluster: at least two, so that the default runs anywhere."""
    return max(os.cpu_count() or 1, 2)


def resolve_workers(
    resources: Mapping[str, float], num_workers: tuple[int, int], accelerator: str
) -> tuple[tuple[int, int], bool]:
    """Return the number of workers as (min, max), and whether each of them has a GPU.

    ``auto`` takes GPUs if there are any, even if they are fewer: the number changes the speed alone.
    """
    (least, most), gpus = num_workers, int(resources.get("GPU", 0))
    if accelerator != "auto" or not gpus:
        return num_workers, accelerator == "gpu"
    fewer = min(least, gpus)
    return (fewer, fewer if least == most else most), True


def local_device(accelerator: str) -> str:
    """Return the device of work outside Ray: this machine's GPU, unless ``accelerator`` is cpu."""
    import torch

    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"


def missing_workers(
    resources: Mapping[str, float], num_workers: int, use_gpu: bool, where: str = "the Ray cluster"
) -> str | None:
    """Return a message if ``where`` has too few CPUs or GPUs; Ray itself would wait for ever."""
    unit = "GPU" if use_gpu else "CPU"
    have = int(resources.get(unit, 0))
    if have >= num_workers:
        return None
    return f"train.num_workers={num_workers} needs as many {unit}s, but {where} has {have}"
