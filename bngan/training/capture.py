"""Whole training steps as programs: compiled on CPUs, captured as CUDA graphs on GPUs."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bngan.numerics.precision import flushing_subnormals
from bngan.numerics.torch_internals import recorded
from bngan.training.optimizers import make_recordable

Update = Callable[..., dict[str, Tensor]]
"""Function of tensors that works on a trainer's state in place, and returns values by name."""


class StepPrograms:
    """Programs of a trainer's steps, one for each kind of step.

    The first step of a kind runs as it is: it makes what later steps change, such as the moments of
    Adam. The second one is recorded. What ``update`` reads must be its tensors, state that keeps
    its place in memory, or constants of the kind.

    Args:
        device: device of all tensors.
        optimizers: those whose steps ``update`` takes.
    """

    def __init__(self, device: torch.device, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        for optimizer in optimizers:
            make_recordable(optimizer, device)
        self._device = device
        self.clear()

    def run(self, kind: Any, update: Update, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return ``update(*tensors)``, by the program of this kind if there is one.

        Args:
            kind: what ``update`` depends on besides tensors; hashable.
        """
        if kind not in self._programs:
            self._programs[kind] = None
            return update(*tensors)
        program = self._programs[kind]
        if program is None:
            program, values = self._record(update, tensors)
            self._programs[kind] = program
            return values
        return program(*tensors)

    def clear(self) -> None:
        """Forget all programs, since the state has another place in memory."""
        self._programs: dict[Any, Update | None] = {}
        self._record: Callable[..., tuple[Update, dict[str, Tensor]]] = _trace
        if self._device.type == "cuda":
            # One pool for all graphs: no program needs memory of another one's run.
            self._record = partial(_capture, torch.cuda.graph_pool_handle())


def _trace(update: Update, tensors: tuple[Tensor, ...]) -> tuple[Update, dict[str, Tensor]]:
    """Record the operators of a step while it runs; the program compiles at its first run."""
    compiled, values = recorded(update, tensors)

    @flushing_subnormals()
    @torch.no_grad()
    def program(*tensors: Tensor) -> dict[str, Tensor]:
        return dict(zip(values, compiled(*tensors), strict=True))

    return program, values


def _capture(
    pool: Any, update: Update, tensors: tuple[Tensor, ...]
) -> tuple[Update, dict[str, Tensor]]:
    """Capture the kernels of a step, which run when the graph is replayed."""
    inputs = [tensor.clone() for tensor in tensors]
    graph = torch.cuda.CUDAGraph()
    # Another thread pins memory for later batches meanwhile: it must not spoil the capture.
    options: dict[str, Any] = {"pool": pool, "capture_error_mode": "thread_local"}
    with torch.cuda.device(inputs[0].device), torch.cuda.graph(graph, **options):
        outputs = update(*inputs)
        stacked = torch.stack([value.float() for value in outputs.values()])

    def program(*tensors: Tensor) -> dict[str, Tensor]:
        for mine, theirs in zip(inputs, tensors, strict=True):
            mine.copy_(theirs)
        graph.replay()
        return dict(zip(outputs, stacked.clone().unbind(), strict=True))

    return program, program(*tensors)
