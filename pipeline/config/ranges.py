"""Ranges of single numbers: what is outside is a slip, whatever the other settings are."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from bngan.serialization.problem import Problem

_POSITIVE = (
    "train.images",
    "train.batch_size",
    "train.score_every",
    "train.checkpoint_every_seconds",
    "train.threads_per_worker",
    "train.patience",
    "train.penalty_weight",
    "train.penalty_every",
    "train.discriminator_steps",
    "train.lr",
    "train.lr_discriminator",
    "train.ema_half_life",
    "model.latent_dim",
    "model.generator.width",
    "model.generator.patch_size",
    "model.discriminator.width",
    "model.discriminator.patch_size",
    "model.batch_norm.eps",
    "adapt.latent_lr",
    "register.draws",
)
_NOT_NEGATIVE = (
    "data.max_download_gb",
    "model.generator.depth",
    "model.discriminator.depth",
    "model.generator.mapping",
    "model.batch_norm.gamma_sd",
    "train.affine_lr_factor",
    "train.weight_decay",
    "train.affine_weight_decay",
    "train.lr_warmup",
    "train.lr_decay_start",
    "train.lr_decay_end",
    "train.max_rollbacks",
    "train.max_failures",
    "adapt.feature_weight",
    "adapt.affine_weight",
    "adapt.latent_weight",
    "adapt.latent_noise",
    "register.min_improvement",
    "register.max_kid_increase",
    "register.max_coverage_loss",
    "register.max_authenticity_loss",
    "register.max_gap_increase",
)
_FRACTIONS = {
    "train.beta1": "[0, 1)",
    "train.beta2": "[0, 1)",
    "train.label_smoothing": "[0, 1)",
    "train.lr_final_factor": "[0, 1]",
    "train.rollback_lr_factor": "(0, 1]",
    "model.batch_norm.momentum": "(0, 1]",
}
_AT_MOST = {
    "train.images": 10**15,
    "train.batch_size": 2**24,
    "train.threads_per_worker": 2**10,
    "model.latent_dim": 2**20,
    "model.generator.width": 2**20,
    "model.generator.depth": 1_000,
    "model.generator.mapping": 1_000,
    "model.discriminator.width": 2**20,
    "model.discriminator.depth": 1_000,
    "data.image_size": 2**14,
    "extractor.size": 2**14,
    "register.draws": 10**6,
}
"""What is more is a slip, and would take the machine's memory before anything else is said."""


def out_of_range(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the numbers that make no sense by themselves; ``values`` by dotted keys."""
    for key in _POSITIVE:
        if values[key] is not None and not (_finite(values[key]) and values[key] > 0):
            yield Problem(key, f"{key} must be positive, got {values[key]}")
    for key in _NOT_NEGATIVE:
        if values[key] is not None and not (_finite(values[key]) and values[key] >= 0):
            yield Problem(key, f"{key} must not be negative, got {values[key]}")
    for key, interval in _FRACTIONS.items():
        low, high = interval[0] == "[", interval[-1] == "]"
        value = values[key]
        if not (0 < value < 1 or (low and value == 0) or (high and value == 1)):
            yield Problem(key, f"{key} must lie in {interval}, got {value}")
    for key, most in _AT_MOST.items():
        if values[key] is not None and values[key] > most:
            yield Problem(key, f"{key} must be at most {most:,}, got {values[key]:,}")


def _finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)  # an int may be too large for a float
