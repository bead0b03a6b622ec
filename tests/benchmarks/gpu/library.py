"""All that these benchmarks take from the library, in one place."""

from bngan.batchnorm import layer
from bngan.data.dataset import ImageSpec, ImageSplit
from bngan.data.images import from_uint8
from bngan.distributed import collectives
from bngan.generation.sampler import Sampler
from bngan.networks import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.numerics.precision import exact_convolutions
from bngan.training.config import ExecutionConfig, OptimizationConfig
from bngan.training.losses import LOSSES
from bngan.training.noise import noise_blocks, training_latents
from bngan.training.penalties import PENALTIES
from bngan.training.trainer import Trainer

__all__ = [
    "LOSSES",
    "PENALTIES",
    "DiscriminatorConfig",
    "ExecutionConfig",
    "GeneratorConfig",
    "ImageSpec",
    "ImageSplit",
    "ModelConfig",
    "OptimizationConfig",
    "Sampler",
    "Trainer",
    "collectives",
    "exact_convolutions",
    "from_uint8",
    "layer",
    "noise_blocks",
    "training_latents",
]
