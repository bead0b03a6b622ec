"""One trial: a training in one process, with scores on the way and of the best generator."""

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from bngan.batchnorm.calibration import calibrate
from bngan.batchnorm.layer import group_size
from bngan.diagnostics.batchnorm_telemetry import batchnorm_metrics
from bngan.generation.latents import calibration_batches
from bngan.generation.sampler import Sampler
from bngan.networks.initialization import weighted_layers
from bngan.serialization.manifest import digest
from bngan.training.base import NonFiniteError
from bngan.training.config import SHAPING
from bngan.training.trainer import Trainer
from pipeline.config.loader import load_config
from pipeline.config.parser import to_dataclass
from pipeline.config.schema import Config
from pipeline.config.validation import config_errors
from pipeline.storage.workspace import Workspace
from pipeline.studies.design import Trial, is_file, task_name
from pipeline.studies.tasks import Task, load

Record = dict[str, Any]
"""A trial's result in JSON values: scores on the way and final ones, and the cause of a failure."""


def settings(trial: Trial) -> Config:
    """Return the configuration of a trial's training.

    Raises:
        UserError: naming the mistakes in it.
    """
    if is_file(trial.task):
        return load_config(Path(trial.task), [*trial.overrides, f"seed={trial.seed}"])
    own = {"name": trial.task, "register": {"model": "none"}, "data": {"path": "embedded:digits"}}
    given = OmegaConf.create(own)  # required keys; built-in tasks do not use them
    parsed = to_dataclass(Config, given, [*trial.overrides, f"seed={trial.seed}"], trial.task)
    parsed.raise_if_invalid(config_errors(parsed.values, known=not parsed.wrong))
    return parsed.values


def identity(trial: Trial, config: Config) -> str:
    """Return a hash of a training's settings, equal in all studies and for all notations."""
    shaping = {name: getattr(config.train, name) for name in (*SHAPING, "images")}
    known = {
        "task": task_name(trial.task),
        "model": asdict(config.model),
        "train": shaping,
        "flip": config.data.flip,
        "seed": config.seed,
        "treatment": trial.treatment,
        "score_every": trial.score_every,
    }
    return digest(known)[:16]


def run_trial(
    trial: Trial, config: Config, storage: Workspace, folders: Mapping[str, str]
) -> Record:
    """Train and score a trial, and return its record; a failed training has a record too."""
    torch.set_num_threads(1)
    paths = {name: storage.path(folder) for name, folder in folders.items()}
    task = load(trial.task, paths.get("prepare"), paths.get("reference"), config.data.flip)
    training = _Training(trial, config, task)
    try:
        training.run()
    except NonFiniteError as error:
        training.failed = str(error)
    return training.record()


class _Training:
    def __init__(self, trial: Trial, config: Config, task: Task) -> None:
        self.trial, self.config, self.task = trial, config, task
        self.trainer = Trainer(config.model, config.train, task.data.spec, trial.seed)
        self.frozen = trial.treatment == "frozen_statistics"
        if trial.treatment != "none":
            apply_treatment(self.trainer, trial.treatment)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None
        self.failed: str | None = None
        self.seconds = 0.0

    def run(self) -> None:
        """Train to the last image, with a score every ``score_every`` images."""
        budget, every = self.config.train.images, self.trial.score_every
        while self.trainer.images_seen < budget:
            started = time.process_time()
            means = self.trainer.fit(self.task.data, min(self.trainer.images_seen + every, budget))
            self.seconds += time.process_time() - started
            state = self.trainer.ema.module.state_dict()
            sampler = self._sampler(state)
            scores = self.task.scores(sampler, final=False)
            record = {"images": self.trainer.images_seen, "cpu_seconds": self.seconds}
            record |= {**means, **scores}
            if not self.frozen:
                record |= batchnorm_metrics(self.trainer, sampler)
            record["logit_gap"] = record["logit_real"] - record["logit_fake"]
            record["spectral_norm_g"] = largest_singular_value(self.trainer.generator)
            self.history.append(record)
            score, images = scores[self.task.measure], record["images"]
            if self.best is None or score <= self.best["score"]:
                self.best = {"score": score, "images": images, "state": copy.deepcopy(state)}

    def _sampler(self, state: dict[str, torch.Tensor], as_trained: bool = False) -> Sampler:
        """Return a sampler with the population's statistics, unless ``as_trained`` or frozen."""
        sampler = Sampler(self.config.model, self.task.data.spec, state)
        if not (self.frozen or as_trained):
            calibrate(sampler.generator, sampler.calibration_batches)
        return sampler

    def record(self) -> Record:
        """Return everything that the analysis reads."""
        final: dict[str, float] = {}
        if self.best is not None:
            state, train = self.best["state"], self.config.train
            sampler = self._sampler(state)
            final = self.task.scores(sampler, final=True) | self.task.generalisation(sampler)
            if self.config.model.generator.batch_normalised and not self.frozen:
                running = self._sampler(state, as_trained=True)
                batch = sampler.with_batch_statistics(
                    group_size(train.batch_size, train.norm_batch)
                )
                for name, other in (("running", running), ("batch", batch)):
                    score = self.task.scores(other, final=True)[self.task.measure]
                    final[f"score_by_{name}_statistics"] = score
        return {
            "measure": self.task.measure,
            "failed": self.failed,
            "best_images": self.best and self.best["images"],
            "cpu_seconds": self.seconds,
            "history": self.history,
            "final": final,
        }


def largest_singular_value(network: nn.Module) -> float:
    """Return the largest spectral norm of the weights, each flattened to ``(first dim, rest)``."""
    weights = (layer.weight.detach().flatten(1) for layer in weighted_layers(network))  # type: ignore[union-attr,operator]
    return max(float(torch.linalg.matrix_norm(weight.double(), 2)) for weight in weights)


@torch.no_grad()
def apply_treatment(trainer: Trainer, treatment: str) -> None:
    """Change the initial generator, and the averaged one with it.

    ``data_dependent`` gives the outputs of every hidden layer mean 0 and variance 1 over latents,
    only once (Salimans & Kingma 2016), as batch norm does at the first step. ``frozen_statistics``
    keeps the batch-norm statistics of the initial generator: batch norm still scales and shifts,
    but no image depends on its batch.
    """
    generator = trainer.generator
    batches = list(calibration_batches(trainer.model.latent_dim, (), 2_000))
    if treatment == "data_dependent":
        _standardise(generator, torch.cat([batch[0] for batch in batches]))
    else:
        calibrate(generator, lambda: iter(batches))  # leaves it in evaluation mode
    trainer.ema.module.load_state_dict(generator.state_dict())


def _standardise(generator: nn.Module, latents: torch.Tensor) -> None:
    layers = [layer for layer in weighted_layers(generator) if not isinstance(layer, nn.Embedding)]

    def adjust(layer: Any, _: Any, out: torch.Tensor) -> torch.Tensor:
        others = [dim for dim in range(out.dim()) if dim != 1]
        mean, deviation = out.mean(others), out.std(others).clamp(min=1e-6)
        output_dim = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        layer.weight.movedim(output_dim, -1).div_(deviation)
        wide = [1, -1] + [1] * (out.dim() - 2)
        if layer.bias is None:
            return out / deviation.view(wide)
        layer.bias.sub_(mean).div_(deviation)
        return (out - mean.view(wide)) / deviation.view(wide)

    hooks = [layer.register_forward_hook(adjust) for layer in layers[:-1]]
    generator.eval()
    generator(latents)
    generator.train()
    for hook in hooks:
        hook.remove()
