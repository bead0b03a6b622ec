"""What shapes the course of training, apart from the networks and the data."""

from dataclasses import dataclass, fields

from bngan.losses import LossName
from bngan.networks import ModelConfig
from bngan.normalization import NormBatch
from bngan.penalties import PenaltyName


@dataclass
class OptimizationConfig:
    """What shapes the trajectory of training."""

    batch_size: int = 64
    """Global batch in images, however many workers share it."""
    norm_batch: NormBatch = "global"
    """Images that share batch-norm statistics: global, or groups of so many consecutive images of the
    batch, whichever workers hold them. Divides the batch."""
    micro_batch: int | None = None
    """Images in one pass through the networks; null: all. Gradients accumulate: less memory, same
    weights. Divides the batch, and with batch norm is made of whole norm_batch groups."""
    loss: LossName = "non_saturating"
    """Adversarial loss: non_saturating or minimax (both Goodfellow et al. 2014)."""
    penalty: PenaltyName = "none"
    """On the discriminator's gradients: none, r1, r2 or gradient_penalty."""
    penalty_weight: float = 1.0
    """Factor of the penalty."""
    penalty_every: int = 1
    """Steps between two penalties, each then weighing as many times more (lazy regularisation)."""
    lr: float = 2e-4
    """Adam's learning rate, for both networks."""
    beta1: float = 0.5
    """Adam's first-moment decay."""
    beta2: float = 0.999
    """Adam's second-moment decay."""
    ema_half_life: float = 10_000
    """Half-life in images of the averaged generator, the one that is evaluated and served."""
    rollback_lr_factor: float = 1.0
    """Factor on the learning rate each time training is rolled back."""


SHAPING = tuple(field.name for field in fields(OptimizationConfig))
"""Names of everything here."""


def batch_problem(model: ModelConfig, optimization: OptimizationConfig) -> str | None:
    """Why the batch cannot be split as configured, in words; None if it can."""
    batch, group = optimization.batch_size, optimization.norm_batch
    micro = batch if optimization.micro_batch is None else optimization.micro_batch
    normalised = (model.generator.norm, model.discriminator.norm) != ("none", "none")
    joint = model.discriminator.batch_statistics == "joint"
    if joint and model.discriminator.norm == "none":
        return (
            "batch_statistics: joint is about batch norm in the discriminator, and its norm is none"
        )
    if micro < 1 or batch % micro:
        return f"micro_batch {micro} must divide batch_size {batch}"
    if joint and (micro < batch or group not in ("global", batch)):
        return "micro_batch and norm_batch do not go with joint statistics of the whole batch"
    if group == "global":
        if micro < batch and normalised:
            return f"micro_batch with batch norm needs norm_batch set to a divisor of {micro}"
        return None
    if group < 2 or micro % group:
        return f"norm_batch {group} must be at least 2 and divide {micro} images"
    return None
