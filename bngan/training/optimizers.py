"""Optimisers with separate settings for gamma and beta, and learning rates by images seen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bngan.networks.norms import affine_parameters
from bngan.numerics.torch_internals import without_compiler
from bngan.serialization.bounds import bounded
from bngan.serialization.problem import Problem

Adam = without_compiler(torch.optim.Adam)
AdamW = without_compiler(torch.optim.AdamW)


@dataclass
class OptimizerConfig:
    """Settings of the optimisers and of their learning rates."""

    optimizer: Literal["adam", "adamw"] = "adam"
    """Optimiser: adam, or adamw with weight decay apart from the gradient (Loshchilov & Hutter
    2019)."""
    lr: float = bounded(2e-4, gt=0)
    """Learning rate."""
    lr_discriminator: float | None = bounded(None, gt=0)
    """Learning rate of the discriminator; null: lr (two time-scales, Heusel et al. 2017)."""
    beta1: float = bounded(0.5, ge=0, lt=1)
    """Adam's first-moment decay."""
    beta2: float = bounded(0.999, ge=0, lt=1)
    """Adam's second-moment decay."""
    weight_decay: float = bounded(0.0, ge=0)
    """Weight decay of all parameters but norms' gamma and beta."""
    affine_lr_factor: float = bounded(1.0, ge=0)
    """Factor on the learning rate of norms' gamma and beta, or of the parameters that compute them;
    0: they keep their first values."""
    affine_weight_decay: float = bounded(0.0, ge=0)
    """Weight decay of norms' gamma and beta, or of the parameters that compute them."""
    trainable: Literal["all", "affine"] = "all"
    """Trained parameters of the generator: all, or affine (only its norms' gamma and beta). All of
    the discriminator is always trained."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the fall of learning rates between lr_decay_start and lr_decay_end; constant: no
    fall."""
    lr_warmup: int = bounded(0, ge=0)
    """Images over which learning rates rise from zero."""
    lr_decay_start: int = bounded(0, ge=0)
    """Images after which learning rates begin to fall."""
    lr_decay_end: int | None = bounded(None, ge=0)
    """Images after which learning rates stay at lr_final_factor; linear and cosine need it."""
    lr_final_factor: float = bounded(0.0, ge=0, le=1)
    """Factor on the learning rates at the end of their fall."""
    rollback_lr_factor: float = bounded(1.0, gt=0, le=1)
    """Factor on the learning rates for each rollback of the training."""


def train_affine_only(network: nn.Module) -> None:
    """Freeze every parameter but those of ``affine_parameters``."""
    network.requires_grad_(False)
    for parameter in affine_parameters(network):
        parameter.requires_grad_(True)


def build_optimizer(
    network: nn.Module, config: OptimizerConfig, lr: float
) -> torch.optim.Optimizer:
    """Return Adam or AdamW over trainable parameters, of which norms' gamma and beta come last.

    The fused kernel goes through tensors in the order of memory: gradients and state need the
    memory layout of the parameter. ``distributed.sum_gradients`` and ``load_optimizer`` keep that
    layout.
    """
    affine = {id(parameter) for parameter in affine_parameters(network)}
    trained = [p for p in network.parameters() if p.requires_grad]
    others = [p for p in trained if id(p) not in affine]
    affines = [p for p in trained if id(p) in affine]
    settings = [
        (others, lr, config.weight_decay),
        (affines, lr * config.affine_lr_factor, config.affine_weight_decay),
    ]
    if settings[0][1:] == settings[1][1:]:  # each group is a launch of the kernel
        settings = [(others + affines, lr, config.weight_decay)]
    groups = [
        {"params": params, "lr": rate, "weight_decay": decay, "initial_lr": rate}
        for params, rate, decay in settings
        if params
    ]
    kind = Adam if config.optimizer == "adam" else AdamW
    return kind(groups, lr, (config.beta1, config.beta2), fused=True)


def optimized_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return all parameters of ``optimizer``."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def skip_step_if(optimizer: torch.optim.Optimizer, failed: Tensor) -> None:
    """Let the optimizer's steps change nothing while ``failed`` is 1; its device decides.

    Args:
        failed: 0 or 1, ``()`` float32. The fused kernels read it, as for gradient scalers.
    """
    vars(optimizer)["found_inf"] = failed


def make_recordable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Keep learning rates in tensors: a recorded step reads them anew."""
    kind = torch.float32 if device.type == "cuda" else torch.float64  # as the kernels read them
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], dtype=kind, device=device)
        group["capturable"] = device.type == "cuda"


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the optimizer's state dict, with learning rates as numbers."""
    state = optimizer.state_dict()
    groups = [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]
    return {**state, "param_groups": groups}


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a copy of the moments in ``state``, whose tensors may have any memory layout.

    ``Optimizer.load_state_dict`` may share tensors with ``state``, such as Adam's step counter,
    which training would then change. The optimizer keeps its own settings and groups: earlier code
    stored two groups with equal settings.
    """
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    for parameter, own in optimizer.state.items():
        for name, value in own.items():
            like = value if name == "step" else parameter
            own[name] = torch.empty_like(like).copy_(value)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set learning rates to ``factor`` times the configured ones."""
    for group in optimizer.param_groups:
        rate = group["initial_lr"] * factor
        group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate


def scheduled_factor(config: OptimizerConfig, images_seen: int) -> float:
    """Return the factor on the learning rates after ``images_seen`` images, a pure function."""
    factor = min(1.0, images_seen / config.lr_warmup) if config.lr_warmup else 1.0
    if config.lr_schedule == "constant" or config.lr_decay_end is None:
        return factor
    span = max(config.lr_decay_end - config.lr_decay_start, 1)
    progress = min(max((images_seen - config.lr_decay_start) / span, 0.0), 1.0)
    if config.lr_schedule == "cosine":
        progress = 0.5 - 0.5 * math.cos(math.pi * progress)
    return factor * (1 - (1 - config.lr_final_factor) * progress)


def schedule_problem(config: OptimizerConfig) -> Problem | None:
    """Return the problem of the learning rates' schedule; None if there is none."""
    end = config.lr_decay_end
    if config.lr_schedule != "constant" and end is None:
        message = f"lr_schedule {config.lr_schedule} needs lr_decay_end, in images"
        return Problem("lr_schedule", message)
    if config.lr_schedule == "constant" and end is not None:
        return Problem("lr_decay_end", "lr_decay_end needs lr_schedule to be linear or cosine")
    if end is not None and end <= config.lr_decay_start:
        message = f"lr_decay_end {end} must come after lr_decay_start {config.lr_decay_start}"
        return Problem("lr_decay_end", message)
    return None
