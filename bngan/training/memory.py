"""Memory of a training step on a device: an estimate without the device, and what fits on it."""

import gc
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from bngan.data.dataset import ImageSpec
from bngan.distributed.collectives import max_over_workers, without_workers, world_size
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_discriminator, build_generator
from bngan.numerics.torch_internals import peak_memory
from bngan.serialization.problem import first_line
from bngan.training.config import OptimizationConfig, batch_problem
from bngan.training.trainer import Trainer

_WORKSPACES = 4_000_000
"""Bytes that libraries for matrices and convolutions took of PyTorch's memory on an H200."""


def peak_bytes(
    model: ModelConfig, optimization: OptimizationConfig, images: ImageSpec, workers: int = 1
) -> int:
    """Return an estimate of the bytes that PyTorch allocates on each GPU at a step's peak.

    Two steps run on tensors without values. For DCGAN in bfloat16 the estimate is within 1 % of
    what an H200 took, with 64 to 2,048 images. Images that lie on the GPU and the driver's own
    memory come in addition.
    """
    trainer = _trainer_of_a_pass(model, optimization, images, workers)
    networks = [*trainer.networks.values(), trainer.ema.module]
    before = [tensor for network in networks for tensor in network.state_dict().values()]

    def steps() -> None:
        for _ in range(2):
            _step(trainer)

    return peak_memory(steps, before) + _WORKSPACES


def activation_bytes(
    model: ModelConfig, optimization: OptimizationConfig, images: ImageSpec, workers: int = 1
) -> int:
    """Return a quick estimate of the bytes that a step takes on each worker.

    It adds up float32 outputs of all layers: the generator's, and the discriminator's for real and
    fake images. From 128 pixels on, for DCGAN and residual networks, it is within 30 % of
    ``peak_bytes``, which takes up to a minute.
    """
    outputs = [0, 0]

    @torch.no_grad()
    def forward() -> None:
        networks = build_generator(model, images).eval(), build_discriminator(model, images).eval()
        for place, network in enumerate(networks):
            for module in network.modules():
                if not any(True for _ in module.children()):
                    module.register_forward_hook(partial(_add_output, outputs, place))
        labels = torch.zeros(1, dtype=torch.int64) if model.conditional else None
        networks[1](networks[0](torch.zeros(1, model.latent_dim), labels), labels)

    peak_memory(forward, ())
    share = math.ceil(optimization.images_per_pass / workers)
    return 4 * share * (outputs[0] + 2 * outputs[1])


def _add_output(outputs: list[int], place: int, module: nn.Module, given: Any, out: Any) -> None:
    outputs[place] += out.numel() if isinstance(out, torch.Tensor) else 0


def largest_pass(
    model: ModelConfig,
    optimization: OptimizationConfig,
    images: ImageSpec,
    device: torch.device | str,
) -> int:
    """Return the largest ``micro_batch`` whose step fits into every worker's memory; a collective.

    Each worker tries by itself, from the whole batch downwards.

    Raises:
        torch.OutOfMemoryError: on every worker, if no pass fits.
    """
    sizes, problem = list(_possible_passes(model, optimization)), ""
    workers, place = world_size(), len(sizes)
    for number, size in enumerate(sizes):
        settings = replace(optimization, micro_batch=size)
        problem = _problem_of_a_step(model, settings, images, workers, device)
        if not problem:
            place = number
            break
    if (place := max_over_workers(place)) == len(sizes):
        message = f"passes of {sizes[-1]} images do not fit into memory: {problem}"
        raise torch.OutOfMemoryError(message)
    return sizes[place]


def _possible_passes(model: ModelConfig, optimization: OptimizationConfig) -> Iterator[int]:
    batch = optimization.batch_size
    for size in (batch // passes for passes in range(1, batch + 1) if batch % passes == 0):
        if batch_problem(model, replace(optimization, micro_batch=size)) is None:
            yield size


def _problem_of_a_step(
    model: ModelConfig,
    optimization: OptimizationConfig,
    images: ImageSpec,
    workers: int,
    device: torch.device | str,
) -> str:
    """Return the error of a step that this worker takes alone, or nothing.

    Libraries report that memory is short by errors of their own. No error may end this worker
    alone: the others would wait for it.
    """
    try:
        with without_workers():
            _step(_trainer_of_a_pass(model, optimization, images, workers, device))
    except RuntimeError as error:
        problem = first_line(error)
    else:
        problem = ""
    gc.collect()
    torch.cuda.empty_cache()
    return problem


def _trainer_of_a_pass(
    model: ModelConfig,
    optimization: OptimizationConfig,
    images: ImageSpec,
    workers: int,
    device: torch.device | str = "cpu",
) -> Trainer:
    """Return a trainer whose batch is one worker's part of one pass, and each step a full one."""
    settings = replace(
        optimization,
        batch_size=max(math.ceil(optimization.images_per_pass / workers), 2),
        micro_batch=None,
        norm_batch="global",
        penalty_every=1,
        discriminator_steps=1,
    )
    return Trainer(model, settings, images, 0, device)


def _step(trainer: Trainer) -> None:
    count, device = trainer.config.batch_size, trainer.device
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    real = torch.zeros(count, *trainer.images.shape, device=device)
    trainer.step(real, labels if trainer.model.conditional else None)
