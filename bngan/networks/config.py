"""What can be chosen about the networks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NormPlace = Literal["before_activation", "after_activation"]


@dataclass
class GeneratorConfig:
    """The generator's shape."""

    width: int = 128
    """Units per hidden layer (mlp), or channels at the largest hidden resolution (dcgan)."""
    depth: int | None = None
    """Hidden layers (mlp, default 1), or doublings of the size (dcgan, default: from 4-7 pixels)."""
    norm: Literal["batch", "self_modulated_batch", "none"] = "batch"
    """Normalisation of each hidden layer, never of the output. self_modulated_batch: gamma and beta
    are functions of the latent (Chen et al. 2019)."""
    norm_place: NormPlace = "before_activation"
    """Where the norm stands: before or after the hidden layer's activation."""


@dataclass
class DiscriminatorConfig:
    """The discriminator's shape."""

    width: int = 128
    """Units per hidden layer (mlp), or channels at the largest hidden resolution (dcgan)."""
    depth: int | None = None
    """Hidden layers (mlp, default 1), or halvings of the size (dcgan, default: to 4-7 pixels)."""
    norm: Literal["batch", "none"] = "none"
    """Normalisation: none, or batch (not on the input layer), which the literature finds harmful."""
    norm_place: NormPlace = "before_activation"
    """Where the norm stands: before or after the hidden layer's activation."""
    batch_statistics: Literal["separate", "joint"] = "separate"
    """With batch norm: whether real and fake images are normalised apart or together."""
    allow_blind: bool = False
    """Train it even if batch norm right before its output gives real and fake batches the same mean
    logit, so that it cannot learn: to study that."""
    spectral_norm: bool = False
    """Divide each weight by its largest singular value (Miyato et al. 2018)."""


@dataclass
class ModelConfig:
    """The pair of networks."""

    network: Literal["mlp", "dcgan"] = "mlp"
    """Family: mlp (fully connected) or dcgan (convolutions, Radford et al. 2015)."""
    latent_dim: int = 64
    """Length of the latent vector z ~ N(0, 1)."""
    conditional: bool = False
    """Generate by class: class-conditional batch norm in the generator (or, with another norm, the
    class's embedding added to the latent), projection discriminator (Miyato & Koyama 2018)."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Inverse of ``dataclasses.asdict``."""
        parts = {
            "generator": GeneratorConfig(**values["generator"]),
            "discriminator": DiscriminatorConfig(**values["discriminator"]),
        }
        return cls(**{**values, **parts})
