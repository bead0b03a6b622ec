"""Configuration of the networks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bngan.serialization.bounds import bounded
from bngan.serialization.json_records import dataclass_from_json

Normalization = Literal["batch", "self_modulated_batch", "layer", "group", "instance", "none"]
Activation = Literal["relu", "leaky_relu", "elu", "silu", "gelu", "none"]
Initialization = Literal["auto", "torch", "glorot", "he", "normal", "orthogonal"]


@dataclass
class NetworkConfig:
    """Settings of both networks."""

    width: int = bounded(128, gt=0, most=2**20)
    """Units per hidden layer (mlp), channels at the largest hidden resolution (dcgan, resnet: twice
    as many on each smaller map, up to 8 times), or features per token (transformer)."""
    depth: int | None = bounded(None, ge=0, most=1_000)
    """Number of hidden layers (mlp, default 1), doublings or halvings of the size (dcgan, resnet,
    default: from or to 3-5 pixels on the longer side), or blocks (transformer, default 4)."""
    norm: Normalization = "batch"
    """Normalisation of hidden layers: batch, layer, group, instance or none; in the generator also
    self_modulated_batch, whose gamma and beta are functions of the latent (Chen et al. 2019)."""
    norm_place: Literal["before_activation", "after_activation"] = "before_activation"
    """Place of the norm: before or after the hidden layer's activation."""
    activation: Activation = "relu"
    """Activation of hidden layers; leaky_relu has slope 0.2."""
    weight_norm: Literal["none", "spectral", "weight"] = "none"
    """spectral: divide each weight by its largest singular value (Miyato et al. 2018). weight:
    train length and direction of each weight separately (Salimans & Kingma 2016)."""
    initialization: Initialization = "auto"
    """Initial weights: torch (its default), glorot, he, normal (N(0, 0.02)) or orthogonal. auto:
    orthogonal for resnet, glorot for transformer, normal for dcgan with a norm to rescale it, else
    torch."""
    attention: list[int] = field(default_factory=list)
    """Sides in pixels of the maps that self-attention follows (dcgan, resnet); of a map that is no
    square, the longer side."""
    patch_size: int | None = bounded(None, gt=0)
    """Side of a transformer's patches; null: an eighth of the image's longer side, rounded up."""

    @property
    def batch_normalised(self) -> bool:
        """Return whether any layer may couple the samples of a batch."""
        return self.norm in ("batch", "self_modulated_batch")


@dataclass
class GeneratorConfig(NetworkConfig):
    """Settings of the generator."""

    output_norm: bool = False
    """Normalise the output by batch norm too; the literature advises against it (Radford et al.
    2015)."""
    output_activation: Literal["tanh", "none"] = "tanh"
    """Last activation: tanh gives the images' range [-1, 1]; none leaves clipping to the conversion
    to pixels."""
    mapping: int = bounded(0, ge=0, most=1_000)
    """Hidden layers, with batch norm, of a mapping network between the latent and the layers that
    compute gamma and beta (self_modulated_batch only; after Karras et al. 2019)."""

    @property
    def batch_normalised(self) -> bool:
        """Return whether any layer may couple the samples of a batch."""
        return self.output_norm or super().batch_normalised


@dataclass
class DiscriminatorConfig(NetworkConfig):
    """Settings of the discriminator."""

    norm: Literal["batch", "layer", "group", "instance", "none"] = "none"
    """Normalisation of all hidden layers but the first: batch (the literature finds it harmful
    here), layer, group, instance or none."""
    activation: Activation = "leaky_relu"
    """Activation of hidden layers; leaky_relu has slope 0.2."""
    norm_first: bool = False
    """Normalise the first hidden layer too, whose input is the image (mlp, dcgan)."""
    batch_statistics: Literal["separate", "joint"] = "separate"
    """Statistics of batch norm: separate for real and fake images, or joint."""
    allow_blind: bool = False
    """Train the network even if batch norm right before its output gives real and fake batches the
    same mean logit. It then cannot learn; the setting serves to study that."""


@dataclass
class BatchNormConfig:
    """Constants of every batch norm."""

    eps: float = bounded(1e-5, gt=0)
    """Number that is added to the variance."""
    momentum: float = bounded(0.1, gt=0, le=1)
    """Weight of a new batch in the running statistics (Keras calls 1 - this its momentum)."""
    gamma_sd: float = bounded(0.02, ge=0)
    """Standard deviation of initial scales, drawn from N(1, gamma_sd^2) (Radford et al. 2015); 0:
    all 1."""


@dataclass
class ModelConfig:
    """Settings of the pair of networks."""

    network: Literal["mlp", "dcgan", "resnet", "transformer"] = "mlp"
    """Family: mlp (fully connected), dcgan (convolutions, Radford et al. 2015), resnet (residual
    blocks, Miyato et al. 2018) or transformer (patches as tokens, Jiang et al. 2021)."""
    latent_dim: int = bounded(64, gt=0, most=2**20)
    """Length of the latent vector z ~ N(0, 1)."""
    conditional: bool = False
    """Generate by class. The class modulates the generator's batch norms, self-modulated or not
    (with another norm, its embedding is added to the latent); the discriminator projects features
    on it (Miyato & Koyama 2018)."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    batch_norm: BatchNormConfig = field(default_factory=BatchNormConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Return the configuration from its dict, the inverse of ``dataclasses.asdict``.

        Raises:
            ValueError: if a key is unknown or has a value of another type; the message names it.
        """
        return dataclass_from_json(cls, values, "model")
