"""Configuration of the course of training, apart from the networks and the data."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal

import torch

from bngan.batchnorm.layer import NormBatch
from bngan.networks.config import ModelConfig
from bngan.serialization.bounds import bounded
from bngan.serialization.problem import Problem
from bngan.training.augmentation import AugmentationName
from bngan.training.losses import LOSSES, LossName
from bngan.training.optimizers import OptimizerConfig, schedule_problem
from bngan.training.penalties import PenaltyName

_COMPILER = "2.14"
"""Earliest version of torch whose compiler is tested here."""


@dataclass
class OptimizationConfig(OptimizerConfig):
    """Settings that determine the trajectory of training."""

    batch_size: int = bounded(
        64,
        ge=2,
        most=2**24,
        message="{key} must be at least 2: batch norm needs something to compare",
    )
    """Global batch in images, for any number of workers."""
    norm_batch: NormBatch = "global"
    """Images that share batch-norm statistics: global, or the size of groups of consecutive images
    of the batch, whichever workers hold them. The size must divide the batch."""
    micro_batch: int | Literal["auto"] | None = None
    """Images in one pass through the networks; null: all. Gradients accumulate over passes: less
    memory, same weights. It must divide the batch and, with batch norm, hold whole norm_batch
    groups. auto: as many as fit into the GPUs' memory, found at the start of the training."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of layers' arithmetic (autocast); weights, statistics, logits and losses are always
    float32. Each worker rounds its gradients to bfloat16, so that workers agree with one only to
    1 %."""
    loss: LossName = "non_saturating"
    """Adversarial loss: non_saturating, minimax, hinge, wasserstein, least_squares, relativistic,
    or inverted_minimax, whose signs are wrong."""
    label_smoothing: float = bounded(0.0, ge=0, lt=1)
    """Distance of real images' target below 1 (non_saturating, minimax, least_squares)."""
    penalty: PenaltyName = "none"
    """Penalty on the discriminator's gradients: none, r1, r2, r1_and_r2 or gradient_penalty."""
    penalty_weight: float = bounded(1.0, gt=0)
    """Factor of the penalty."""
    penalty_every: int = bounded(1, gt=0)
    """Steps between two penalties; each then weighs as many times more (lazy regularisation)."""
    discriminator_steps: int = bounded(1, gt=0)
    """Steps of the discriminator, each on other images, per step of the generator."""
    augment: list[AugmentationName] = field(default_factory=list)
    """Changes of all images that the discriminator sees, for small data: translation, cutout,
    color."""
    ema_half_life: float = bounded(10_000, gt=0)
    """Half-life in images of the averaged generator, which is evaluated and served."""

    @property
    def images_per_pass(self) -> int:
        """Return the number of images of the global batch in one pass; for auto, all of them."""
        return self.micro_batch if isinstance(self.micro_batch, int) else self.batch_size


DataOnDevice = Literal["auto", "always", "never"]


@dataclass
class ExecutionConfig:
    """Settings that change the speed of training, and its result by rounding only."""

    compile: Literal["off", "networks", "step"] = "off"
    """Programs in place of single operations. networks: torch.compile of both networks, except in
    steps with a penalty. step: the whole step, compiled on CPUs and captured as CUDA graphs on
    GPUs. Compiling takes 10 to 60 s at the start, and a C++ compiler on CPUs."""
    data_on_device: DataOnDevice = "auto"
    """Copy of all training images on the workers' device: auto, always or never. auto: on a GPU
    that has four times their size free."""


SHAPING = tuple(field.name for field in fields(OptimizationConfig))
"""Names of all fields of ``OptimizationConfig``."""
EXECUTION = tuple(field.name for field in fields(ExecutionConfig))
"""Names of all fields of ``ExecutionConfig``."""


def execution_problem(execution: ExecutionConfig, device: str) -> Problem | None:
    """Return the reason why this machine cannot compile for ``device``, cpu or cuda; else None.

    Capturing takes no compiler.
    """
    captured = execution.compile == "step" and device == "cuda"
    if execution.compile == "off" or captured:
        return None
    if torch.__version__ < _COMPILER:
        return Problem("compile", f"compile needs torch {_COMPILER}, not {torch.__version__}")
    if device == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        return Problem("compile", "compile needs a C++ compiler on CPUs, and there is no g++")
    return None


def optimizer_errors(model: ModelConfig, optimization: OptimizationConfig) -> Iterator[Problem]:
    """Yield the settings that contradict each other; keys are fields of ``OptimizationConfig``."""
    problems = batch_problem(model, optimization), schedule_problem(optimization)
    yield from filter(None, problems)
    loss, generator = optimization.loss, model.generator
    if optimization.label_smoothing and LOSSES[loss].smoothing is None:
        message = f"label_smoothing needs a loss with targets, and {loss} has none"
        yield Problem("label_smoothing", message)
    hidden = generator.norm != "none" and not (model.network == "mlp" and generator.depth == 0)
    if optimization.trainable == "affine" and not (hidden or generator.output_norm):
        message = "trainable: affine needs norms in the generator, and it has none"
        yield Problem("trainable", message)


def batch_problem(model: ModelConfig, optimization: OptimizationConfig) -> Problem | None:
    """Return the reason why the batch cannot be split as configured; None if it can."""
    batch, group = optimization.batch_size, optimization.norm_batch
    micro = optimization.images_per_pass
    normalised = model.generator.batch_normalised or model.discriminator.batch_normalised
    joint = model.discriminator.batch_statistics == "joint"
    if micro < 1 or batch % micro:
        return Problem("micro_batch", f"micro_batch {micro} must divide batch_size {batch}")
    if joint and (micro < batch or group not in ("global", batch)):
        message = "micro_batch and norm_batch do not go with joint statistics of the whole batch"
        return Problem("micro_batch" if micro < batch else "norm_batch", message)
    if group == "global":
        if micro < batch and normalised:
            message = f"micro_batch with batch norm needs norm_batch set to a divisor of {micro}"
            return Problem("micro_batch", message)
        return None
    if group < 2 or micro % group:
        message = f"norm_batch {group} must be at least 2 and divide {micro} images"
        return Problem("norm_batch", message)
    return None
