"""Metrics of batch norm in a training: a few numbers that are cheap enough for every score."""

import copy
from collections import defaultdict
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bngan.batchnorm.calibration import channel_moments, execution_order
from bngan.batchnorm.layer import desynchronize, group_size
from bngan.distributed.collectives import shard_slices
from bngan.generation.latents import telemetry_batch
from bngan.generation.sampler import Sampler
from bngan.networks.norms import ConditionalBatchNorm, iterate_spectral_norms, parametrized
from bngan.numerics.torch_internals import BatchNormBase
from bngan.training.base import BaseTrainer

SMALL_GAMMA = 0.01
_PAIRS = 4
T = TypeVar("T")
Inputs = tuple[Tensor, ...]
"""A generator's arguments: latents, and labels if it is conditional."""


@torch.no_grad()
def batchnorm_metrics(trainer: BaseTrainer, calibrated: Sampler) -> dict[str, float]:
    """Return batch-norm metrics of a training by name. Not a collective.

    * ``batch_mate_sensitivity``;
    * for each batch norm of the averaged generator ``running_distance/<layer>``, from its running
      statistics to the calibrated ones, and ``worker_distance/<layer>``, from the statistics of
      each worker's part of a group to those of the group;
    * ``small_gammas``, the share of gammas below 0.01.

    The name of a layer is its map size: ``running_distance/8x8``, or ``running_distance/8x8_2`` for
    the second one of this size (see ``execution_order``).
    Metrics of the discriminator start with ``discriminator_``. A trainer that keeps its statistics
    has ``small_gammas`` alone. The functions of the same names define the metrics.

    Args:
        trainer: the training.
        calibrated: its averaged generator with calibrated statistics.
    """
    generator = calibrated.generator
    if trainer.keeps_statistics:
        return _flat({"small_gammas": small_gammas(generator)})
    config, model = trainer.config, trainer.model
    size = group_size(config.batch_size, config.norm_batch)
    frequencies = calibrated.spec.class_frequencies if model.conditional else ()

    def draw(number: int, size: int) -> Inputs:
        whole = telemetry_batch(number, size, model.latent_dim, frequencies)
        return tuple(part.to(calibrated.device) for part in whole)

    pairs = [(draw(2 * number, size), draw(2 * number + 1, size)) for number in range(_PAIRS)]
    batch = draw(2 * _PAIRS, config.images_per_pass)
    groups = _worker_parts(config.images_per_pass, size)
    names = _names(generator, batch)
    metrics = {
        "batch_mate_sensitivity": batch_mate_sensitivity(generator, pairs),
        "running_distance": _by_name(statistics_distance(trainer.ema.module, generator), names),
        "worker_distance": _by_name(worker_distance(generator, batch, groups), names),
        "small_gammas": small_gammas(generator),
    }
    if model.discriminator.norm == "batch":
        discriminator = desynchronize(copy.deepcopy(trainer.networks["discriminator"]))
        images = (generator(*batch).to(trainer.dtype), *batch[1:])
        distances = worker_distance(discriminator, images, groups)
        names = _names(discriminator, images)
        metrics["discriminator_worker_distance"] = _by_name(distances, names)
        metrics["discriminator_small_gammas"] = small_gammas(discriminator)
    return _flat(metrics)


def batch_mate_sensitivity(generator: nn.Module, pairs: list[tuple[Inputs, Inputs]]) -> float:
    """Return the change of an image by the rest of a batch: S = E|G(z; A) - G(z; B)|^2 / Var G.

    The generator runs in training mode, where a batch's own statistics normalise it. The two
    batches of a pair share one sixteenth of their latents. S compares the squared difference of the
    shared latents' images to the variance of images. 0: an image depends on its latent alone. 2:
    nothing is left of the latent.
    """
    generator = _in_training_mode(generator)
    differences, images = list[Tensor](), list[Tensor]()
    for one, other in pairs:
        shared = max(1, len(one[0]) // 16)
        other = tuple(torch.cat([a[:shared], b[shared:]]) for a, b in zip(one, other, strict=True))
        first, second = (generator(*batch).flatten(1).double() for batch in (one, other))
        differences.append((first - second)[:shared].square().sum(1))
        images += [first, second[shared:]]
    variance = torch.cat(images).var(0).sum()
    return (torch.cat(differences).mean() / variance).item()


def statistics_distance(network: nn.Module, reference: nn.Module) -> dict[str, float]:
    """Return the channels' mean of KL(N(running) || N(running of reference)), by module name."""
    theirs = _norms(reference)
    return {
        name: _divergence(
            norm.running_mean, norm.running_var, other.running_mean, other.running_var
        )
        for name, norm in _norms(network).items()
        if (other := theirs[name]).running_mean is not None
    }


def worker_distance(
    network: nn.Module, batch: Inputs, groups: list[tuple[slice, list[slice]]]
) -> dict[str, float]:
    """Return the channels' mean of KL(N(worker's part) || N(group)), by batch norm's module name.

    It measures the error of batch norm that is not synchronised. ``groups`` are those of the batch
    that share statistics, each with the parts of it that workers hold, counted from the group's
    start.
    """
    network, distances = _in_training_mode(network), defaultdict[str, list[float]](list)
    present: list[slice] = []  # the parts of the group that the network sees

    def compare(name: str, module: nn.Module, inputs: Inputs) -> None:
        whole = channel_moments(inputs[0])
        for part in (inputs[0][part] for part in present):
            if part.numel() > part.shape[1]:
                distances[name].append(_divergence(*channel_moments(part), *whole))

    for name, norm in _norms(network).items():
        norm.register_forward_pre_hook(partial(compare, name))
    for group, parts in groups:
        present[:] = parts
        network(*(values[group] for values in batch))
    return {name: sum(values) / len(values) for name, values in distances.items()}


def _worker_parts(batch: int, size: int) -> list[tuple[slice, list[slice]]]:
    """Return groups of ``size`` in the batch of a pass, each with the workers' parts of it."""
    parts = []
    for start in range(0, batch, size):
        ends = [
            (max(part.start, start) - start, min(part.stop, start + size) - start)
            for part in shard_slices(batch)
        ]
        parts.append((slice(start, start + size), [slice(*end) for end in ends if end[0] < end[1]]))
    return parts


def _in_training_mode(network: nn.Module) -> nn.Module:
    """Return a copy whose batch norms take each batch's statistics; its weights hold still."""
    network = copy.deepcopy(network).train()
    iterate_spectral_norms(parametrized(network))
    return network


def small_gammas(network: nn.Module) -> float | None:
    """Return the share of batch-norm scales with |gamma| < 0.01; None if none is a parameter."""
    gammas = [norm.weight.flatten() for norm in _norms(network).values() if norm.affine]
    if not gammas:
        return None
    return (torch.cat(gammas).abs() < SMALL_GAMMA).double().mean().item()


@torch.no_grad()
def gamma_values(generator: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Return all gammas of each batch norm by map size; modulated ones for each of ``inputs``."""
    gammas = {
        name: norm.weight.flatten() for name, norm in _norms(generator).items() if norm.affine
    }

    def keep(name: str, module: nn.Module, arguments: Any, out: Tensor) -> None:
        gammas[name] = out.chunk(2, dim=1)[0].flatten()

    network = copy.deepcopy(generator)  # its hooks end with it
    for name, module in network.named_modules():
        if isinstance(module, ConditionalBatchNorm):
            module.modulation.register_forward_hook(partial(keep, f"{name}.norm"))
    network(*inputs)
    return _by_name(gammas, _names(generator, inputs))


def _names(network: nn.Module, inputs: Inputs) -> dict[str, str]:
    """Return the names that ``execution_order`` gives, by module and in its order."""
    network = copy.deepcopy(network).eval()
    modules = {norm: module for module, norm in _norms(network).items()}
    return {modules[norm]: name for name, norm in execution_order(network, inputs).items()}


def _by_name(values: dict[str, T], names: dict[str, str]) -> dict[str, T]:
    return {name: values[module] for module, name in names.items() if module in values}


def _norms(network: nn.Module) -> dict[str, BatchNormBase]:
    return {name: m for name, m in network.named_modules() if isinstance(m, BatchNormBase)}


def _divergence(mean: Any, variance: Any, other_mean: Any, other_variance: Any) -> float:
    """Return the KL divergence between normal distributions, as a mean over channels."""
    mean, variance, other_mean, other_variance = (
        value.detach().double().cpu() for value in (mean, variance, other_mean, other_variance)
    )
    variance, other_variance = variance + 1e-5, other_variance + 1e-5
    ratio = variance / other_variance
    shift = (mean - other_mean).square() / other_variance
    return float((0.5 * (ratio - 1 - ratio.log() + shift)).mean())


def _flat(metrics: dict[str, Any]) -> dict[str, float]:
    """Return per-layer values as ``name/layer``, without values that are None."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= {f"{name}/{layer}": number for layer, number in value.items()}
        elif value is not None:
            flat[name] = value
    return flat
