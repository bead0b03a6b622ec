"""Functions on several processes that form a gloo process group."""

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

_IMPORTED = ["pipeline.training.factory", "pipeline.training.loop", "pytest", __name__]
"""Modules that each process has from the start."""


def _enter(
    rank: int, workers: int, folder: str, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=workers)
    try:
        Path(folder, str(rank)).write_bytes(pickle.dumps(function(*args)))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def run_workers(workers: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """Return the results of ``function(*args)`` on ``workers`` processes, by rank.

    The processes form a gloo process group. A server that has imported torch forks them. The function
    must belong to a module.
    """
    mp.get_context("forkserver").set_forkserver_preload(_IMPORTED)
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _enter, (workers, folder, function, args), nprocs=workers, start_method="forkserver"
        )
        results = [Path(folder, str(rank)).read_bytes() for rank in range(workers)]
    return [pickle.loads(result) for result in results]  # noqa: S301 (our own)
