"""Build the configured trainer from plain values, which can travel to workers."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bngan.data.dataset import ImageSplit
from bngan.generation.sampler import Sampler
from bngan.metrics.extractors import load_extractor
from bngan.networks.config import ModelConfig
from bngan.training.base import BaseTrainer
from bngan.training.config import EXECUTION, SHAPING, ExecutionConfig, OptimizationConfig
from bngan.training.supervised import SUPERVISION, SupervisedConfig, SupervisedTrainer
from bngan.training.trainer import Trainer
from pipeline.config.schema import Config
from pipeline.storage.artifacts import BASE_GENERATOR


def trainer_settings(config: Config, prepared: str, reference: str | None) -> dict[str, Any]:
    """Return the settings of ``build_trainer``; folders are keys by ``Workspace.key``.

    ``reference``: output folder of that stage, which only a training with a base needs.
    """
    return {
        "prepared": prepared,
        "reference": reference,
        "model": asdict(config.model),
        "train": asdict(config.train),
        "adapt": asdict(config.adapt) if config.adapt.base else None,
        "flip": config.data.flip,
        "seed": config.seed,
    }


def training_inputs(
    settings: Mapping[str, Any],
) -> tuple[ImageSplit, ModelConfig, OptimizationConfig]:
    """Return data, networks and optimisation of ``settings``, as ``build_trainer`` takes them."""
    data = ImageSplit.load(Path(settings["prepared"]), "train", settings["flip"])
    optimization = OptimizationConfig(**{key: settings["train"][key] for key in SHAPING})
    return data, ModelConfig.from_dict(settings["model"]), optimization


def build_trainer(
    settings: Mapping[str, Any], device: torch.device | str, dtype: torch.dtype = torch.float32
) -> tuple[BaseTrainer, ImageSplit]:
    """Return the trainer before its first step, and its data.

    ``settings``: those of ``trainer_settings``, but with folders as paths on this machine.
    """
    data, model, optimization = training_inputs(settings)
    execution = ExecutionConfig(**{key: settings["train"][key] for key in EXECUTION})
    seed, adapt = settings["seed"], settings["adapt"]
    common: dict[str, Any] = {"device": device, "dtype": dtype, "execution": execution}
    if not adapt:
        return Trainer(model, optimization, data.spec, seed, **common), data
    reference = Path(settings["reference"])
    initial = Sampler.load(reference / BASE_GENERATOR).generator.state_dict()
    if adapt["method"] == "adversarial":
        return Trainer(model, optimization, data.spec, seed, initial=initial, **common), data
    extractor = load_extractor(reference).to(device)
    extractor.network.to(dtype).requires_grad_(False)
    supervision = SupervisedConfig(**{key: adapt[key] for key in SUPERVISION})
    rest = data, seed, initial, extractor.differentiable
    return SupervisedTrainer(model, optimization, supervision, *rest, **common), data
