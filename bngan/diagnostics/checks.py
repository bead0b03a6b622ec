"""Checks for networks that cannot learn, and for settings without their usual meaning."""

from collections.abc import Iterator

import torch
from torch import nn

from bngan.batchnorm.layer import batch_layout, synchronize
from bngan.data.dataset import ImageSpec
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_discriminator, build_generator
from bngan.numerics.torch_internals import BatchNormBase, skip_initialization
from bngan.serialization.problem import ConfigurationError, Problem
from bngan.training.config import OptimizationConfig

_BATCH = 16
_MOST = 1_000_000_000
"""Maximum number of parameters of both networks."""


def is_blind(model: ModelConfig, images: ImageSpec) -> bool:
    """Return whether the discriminator gives every batch the same mean logit, and cannot learn.

    There are two causes. Instance norm of single places makes all logits the same. Batch norm right
    before a linear output makes all mean logits the same: each batch's normalised features have
    mean beta, hence each batch has the mean logit w . beta + b. If real and fake are normalised
    separately, Jensen's inequality then makes a constant discriminator the best under every convex
    loss.
    """
    if model.discriminator.norm == "none" or model.discriminator.batch_statistics == "joint":
        return False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        discriminator = synchronize(build_discriminator(model, images)).double().train()
        # Two kinds of images with nothing in common.
        shape = (_BATCH, *images.shape)
        noise, flat = torch.rand(shape) * 2 - 1, torch.rand(_BATCH, 1, 1, 1).expand(shape)
        labels = torch.randint(images.classes, (_BATCH,)).repeat(2) if model.conditional else None
    with torch.no_grad(), batch_layout([_BATCH, _BATCH], track=False):
        logits = discriminator(torch.cat([noise, flat]).double(), labels).view(2, _BATCH)
    if model.conditional:  # a class's own logit is no difference between images
        logits = logits - logits.mean(dim=0)
    means, spread = logits.mean(dim=1), logits.std()
    return bool((means[0] - means[1]).abs() <= 1e-9 * max(spread.item(), 1e-3))


def ignores_latents(model: ModelConfig, images: ImageSpec) -> bool:
    """Return whether all images are the same, as instance norm of single places makes them."""
    if model.generator.norm != "instance":
        return False
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        generator = build_generator(model, images).double()
        labels = torch.zeros(_BATCH, dtype=torch.int64) if model.conditional else None
        made = generator(torch.randn(_BATCH, model.latent_dim, dtype=torch.float64), labels)
    return bool(made.std(dim=0).max() <= 1e-6 * made.abs().max())


def parameters(model: ModelConfig, images: ImageSpec) -> int:
    """Return the number of parameters of both networks, without making the networks.

    Raises:
        ConfigurationError: if the images or the family do not allow a setting.
    """
    try:
        with torch.device("meta"), skip_initialization():
            networks = build_generator(model, images), build_discriminator(model, images)
    except RuntimeError as error:  # sizes beyond 64 bits
        problem = Problem("model", "model: the networks are larger than can be counted")
        raise ConfigurationError(problem) from error
    return sum(p.numel() for network in networks for p in network.parameters())


def network_errors(model: ModelConfig, images: ImageSpec) -> Iterator[Problem]:
    """Yield the first reason why these networks cannot learn from these images, if there is one."""
    part = model.discriminator
    if part.batch_statistics == "joint" and part.norm != "batch":
        key = "model.discriminator.batch_statistics"
        yield Problem(key, f"{key}: joint needs norm: batch, and it is {part.norm}")
        return
    try:
        if (count := parameters(model, images)) > _MOST:
            message = f"model: the networks have {count:,} parameters, more than {_MOST:,}"
            yield Problem("model", message)
            return
        with torch.random.fork_rng(devices=[]):
            build_generator(model, images)
            discriminator = build_discriminator(model, images)
    except ConfigurationError as error:
        yield error.problem
        return
    except ValueError as error:  # torch's
        yield Problem("model", str(error))
        return
    norms = BatchNormBase | nn.GroupNorm | nn.LayerNorm
    if part.norm != "none" and not any(isinstance(m, norms) for m in discriminator.modules()):
        message = (
            f"model.discriminator.norm={part.norm}: there is no layer for it at this depth (norm_first "
            "gives the first hidden layer one); set model.discriminator.depth to 2 or more"
        )
        yield Problem("model.discriminator.norm", message)
    elif not part.allow_blind and is_blind(model, images):
        yield _blind(part.norm)
    elif ignores_latents(model, images):
        message = (
            "model.generator cannot learn: instance norm of one place leaves nothing of the latent"
        )
        yield Problem("model.generator", message)


def _blind(norm: str) -> Problem:
    mend = "norm_place: before_activation, or batch_statistics: joint"
    message = (
        f"model.discriminator cannot learn: {norm} norm right before its output gives every "
        "batch the same mean logit, and real and fake images are normalised separately. Set "
        f"{mend if norm == 'batch' else 'a smaller depth'}; allow_blind: true trains it all the same"
    )
    return Problem("model.discriminator", message)


def network_warnings(model: ModelConfig, optimization: OptimizationConfig) -> Iterator[str]:
    """Yield one sentence for each setting that trains, but not as its name says."""
    part, penalty = model.discriminator, optimization.penalty
    yield from _unused(model)
    if optimization.loss == "inverted_minimax":
        yield "loss inverted_minimax has both signs wrong: D is rewarded for taking real for fake"
    if optimization.loss == "wasserstein" and penalty == "none" and part.weight_norm != "spectral":
        yield (
            "loss wasserstein with neither a penalty nor weight_norm spectral: the discriminator's "
            "logits have no bound"
        )
    if part.norm == "batch" and penalty != "none":
        yield (
            f"batch norm in the discriminator with penalty {penalty}: what is penalised is the "
            "gradient of a whole batch's logits, not each image's own"
        )
    if part.norm == "batch" and part.weight_norm != "none":
        yield (
            f"batch norm in the discriminator with weight_norm {part.weight_norm}: batch norm "
            "cancels the scale that it sets"
        )


def _unused(model: ModelConfig) -> Iterator[str]:
    """Yield one sentence for each setting that networks of this family ignore."""
    network = model.network
    if network != "transformer" and (model.generator.patch_size or model.discriminator.patch_size):
        yield f"patch_size is about transformers: a {network} does not look at it"
    if network in ("resnet", "transformer") and model.discriminator.norm_first:
        yield f"norm_first is about mlp and dcgan: a {network} does not look at it"
