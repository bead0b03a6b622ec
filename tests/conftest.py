import pickle
import socket
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import settings

from pipeline.core.environment import set_defaults

set_defaults()
torch.set_num_threads(1)
# The same examples every time, and no verdict on how fast a busy machine is.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What ``condition`` returns once it is true of anything; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(seconds / 1000)  # what may take long is not asked too often
    return found


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _enter(
    rank: int, workers: int, meeting: str, results: Any, function: Callable[..., Any], args: Any
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=workers)
    try:
        # As plain bytes: tensors would travel as open files, and there may be many.
        results[rank] = pickle.dumps(function(*args))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def run_workers(workers: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """What ``function(*args)``, a module-level function, returns on each of ``workers`` processes.

    They form a gloo process group and are forked from a server that has imported torch already.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["bngan.training.trainer"])
    with context.Manager() as manager, tempfile.TemporaryDirectory() as folder:
        results = manager.dict()
        mp.start_processes(
            _enter,
            (workers, f"{folder}/meeting", results, function, args),
            nprocs=workers,
            start_method="forkserver",
        )
        return [pickle.loads(results[rank]) for rank in range(workers)]  # noqa: S301 (our own)


@pytest.fixture
def digits() -> tuple[Any, Any]:
    """scikit-learn's digits as uint8 ``(N, 8, 8, 1)`` and int64 labels."""
    import numpy as np
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    return images, data.target.astype(np.int64)
