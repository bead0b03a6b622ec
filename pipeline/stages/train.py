"""train: data-parallel training on Ray, scored on the select split; the best generator, calibrated."""

import copy
import json
import tempfile
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bngan.calibration import calibrate
from bngan.checkpoint import load_checkpoint, save_checkpoint
from bngan.data import ImageSplit
from bngan.distributed import assert_replicas_equal, gather_shards, rank, shard
from bngan.images import png_bytes
from bngan.metrics.features import Extractor, Features
from bngan.metrics.protocol import score
from bngan.networks import ModelConfig
from bngan.optimization import OptimizationConfig
from bngan.sampling import Sampler
from bngan.telemetry import measure
from bngan.trainer import Trainer
from pipeline import cluster
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.fingerprint import code_of
from pipeline.manifest import digest
from pipeline.stage import Stage, StageContext, Summary

SELECTION_SEED = 1
"""Latents of scores during training; the final score's are others."""
SELECTION_CALIBRATION = 2_000
_CHECKPOINT = "images-"
_SHAPING = tuple(field.name for field in fields(OptimizationConfig))
"""Keys of `train` that shape the course of training; the others say how far, where and how seen."""


def run(context: StageContext) -> Summary:
    """Write the calibrated generator of the best score, and ``history.json``."""
    config = context.config
    folder, device, told = _train(context)
    state = load_checkpoint(folder)
    best, history = state["best"], state["progress"]["history"]
    resumed = [record for record in history if not told or record["images"] < told[0]["images"]]
    for record in resumed:  # this run's curves show the whole course, not its last part
        _log(context, record)
    resumed_from = resumed[-1]["images"] if resumed else 0
    context.events.metrics({"resumed_from": resumed_from}, 0)
    spec = ImageSplit.load(context.inputs["prepare"], "train").spec
    sampler = Sampler(config.model, spec, best["ema"])
    calibrate(sampler.generator, sampler.calibration_batches)
    sampler.save(context.output, images_seen=best["images"])
    (context.output / "history.json").write_text(json.dumps(history))
    note = (
        f"{config.train.num_workers} {device} workers; best after {best['images']:,} of "
        f"{state['trainer']['images_seen']:,} images"
    )
    return {"note": f"{note}, resumed from {resumed_from:,}" if resumed_from else note}


def _train(context: StageContext) -> tuple[Path, str, list[cluster.Record]]:
    """Folder of the last checkpoint, kind of device, and the records of what was trained now."""
    config, told = context.config, list[cluster.Record]()

    def on_record(record: cluster.Record) -> None:
        pictures = record.pop("pictures", {})
        told.append(record)
        _log(context, record)
        context.events.progress(int(record["images"]), config.train.images, _note(told))
        for name, png in pictures.items():
            context.events.artifact(name, png)

    require_classes(config, context.inputs["prepare"])
    context.events.progress(0, config.train.images, "starting Ray and its workers")
    name, storage = _trajectory(context), context.workspace / "training"
    _refuse_to_go_back(storage / name, config.train.images + config.train.batch_size)
    settings = {
        "prepared": str(context.inputs["prepare"]),
        "reference": str(context.inputs["reference"]),
        "model": asdict(config.model),
        "train": asdict(config.train),
        "seed": config.seed,
    }
    folder, device = cluster.fit(
        worker,
        settings,
        name=name,
        storage=storage,
        num_workers=config.train.num_workers,
        accelerator=config.train.accelerator,
        on_record=on_record,
    )
    return folder, device, told


def require_classes(config: Config, prepared: Path) -> None:
    """A conditional model needs labels."""
    if config.model.conditional and not ImageSplit.load(prepared, "train").spec.classes:
        raise UserError("model.conditional needs images with labels, and these have none")


def _refuse_to_go_back(trained: Path, images: int) -> None:
    """A training that has gone further than asked for cannot be taken back."""
    reached = [int(path.name.removeprefix(_CHECKPOINT)) for path in trained.glob(f"{_CHECKPOINT}*")]
    if max(reached, default=0) > images:
        raise UserError(
            f"train.images: this training has seen {max(reached):,} images already; to have it end "
            f"earlier give it another seed, or delete {trained}"
        )


def _log(context: StageContext, record: cluster.Record) -> None:
    values = {key: value for key, value in record.items() if key != "images"}
    context.events.metrics(values, int(record["images"]))


def _note(told: list[cluster.Record]) -> str:
    record, scores = told[-1], [r["fid_select"] for r in told if "fid_select" in r]
    latest = f" | FID {scores[-1]:.1f}" if scores else ""
    return (
        f"{record['images_per_second']:,.0f} images/s | loss D {record['loss_d']:.3f} "
        f"G {record['loss_g']:.3f}{latest}"
    )


def _trajectory(context: StageContext) -> str:
    """Name of the training: what shapes its course, so that only the same course is continued.

    More images and other numbers of workers belong to the same course; another cadence of scores does
    not, since the best scored generator is the result.
    """
    config = context.config
    shape = {
        "seed": config.seed,
        "model": asdict(config.model),
        "score_every": config.train.score_every,
        "train": {key: getattr(config.train, key) for key in _SHAPING},
        "inputs": context.input_digests,
        "code": code_of(STAGE),
    }
    return f"{config.name}-{digest(shape)[:16]}"


def build_trainer(
    settings: dict[str, Any], device: torch.device | str, dtype: torch.dtype = torch.float32
) -> tuple[Trainer, ImageSplit]:
    """The configured training before its first step, and its data."""
    data = ImageSplit.load(Path(settings["prepared"]), "train")
    model = ModelConfig.from_dict(settings["model"])
    optimization = OptimizationConfig(**{key: settings["train"][key] for key in _SHAPING})
    return Trainer(model, optimization, data.spec, settings["seed"], device, dtype), data


def worker(settings: dict[str, Any]) -> None:
    """The training loop of one Ray worker; runs under any initialised process group."""
    from ray import train
    from ray.train.torch import get_device

    config = settings["train"]
    torch.set_num_threads(config["threads_per_worker"])
    trainer, data = build_trainer(settings, get_device())
    keeper = _Keeper(trainer, Path(settings["reference"]))
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            keeper.load(load_checkpoint(Path(folder)))
    cadence = config["score_every"]
    clock, counted = time.monotonic(), trainer.images_seen
    spent = keeper.history[-1]["seconds"] if keeper.history else 0.0
    for record in trainer.fit(data, config["images"], cadence, max(cadence // 10, 1)):
        seconds, seen = time.monotonic() - clock, trainer.images_seen
        spent += seconds
        rate = (seen - counted) / seconds
        record |= {"images": seen, "images_per_second": rate, "seconds": spent}
        due = trainer.passed(cadence) or seen >= config["images"]
        pictures = keeper.score(record) if due else {}
        keeper.history.append(record)
        if rank() == 0:
            settings["queue"].put({**record, "pictures": pictures})
        if due:
            keeper.report(train)
        clock, counted = time.monotonic(), seen


class _Keeper:
    """Scores the averaged generator, remembers the best, and writes checkpoints."""

    def __init__(self, trainer: Trainer, reference: Path) -> None:
        self.trainer = trainer
        self.extractor = Extractor.load(reference).to(trainer.device)
        self.real = np.load(reference / "features_select.npy")
        self.best: dict[str, Any] = {"fid": float("inf")}
        self.history: list[dict[str, float]] = []

    def score(self, record: dict[str, float]) -> dict[str, bytes]:
        """Add the scores at this point to ``record`` and return a sample grid; a collective."""
        started = time.monotonic()
        weights = copy.deepcopy(self.trainer.ema.module).cpu().state_dict()
        sampler = Sampler(self.trainer.model, self.trainer.images, weights).to(self.trainer.device)
        calibrate(sampler.generator, lambda: sampler.calibration_batches(SELECTION_CALIBRATION))
        scores = score(self._features(sampler), self.real)
        record["fid_select"] = scores["fid"]
        if "inception_score" in scores:
            record["inception_score_select"] = scores["inception_score"]
        if scores["fid"] <= self.best["fid"]:
            self.best = {
                "fid": scores["fid"],
                "images": self.trainer.images_seen,
                "ema": weights,
            }
        if rank() != 0:
            return {}
        record |= measure(self.trainer, sampler)
        record["score_seconds"] = time.monotonic() - started
        grid = png_bytes(sampler.images(SELECTION_SEED, range(64)))
        return {f"samples/{self.trainer.images_seen:09d}.png": grid}

    def _features(self, sampler: Sampler) -> Features:
        """Of as many generated images as there are real ones, each worker making its part."""
        count = len(self.real)
        own = range(count)[shard(count)]
        parts = self.extractor(sampler.images(SELECTION_SEED, own))
        device = self.trainer.device  # NCCL knows no other
        whole = (gather_shards(torch.from_numpy(part).to(device), count) for part in parts)
        return Features(*(part.cpu().numpy() for part in whole))

    def report(self, train: Any) -> None:
        """Hand a checkpoint of everything to Ray; a collective."""
        assert_replicas_equal(self.trainer.generator, "generator")
        assert_replicas_equal(self.trainer.discriminator, "discriminator")
        name = f"{_CHECKPOINT}{self.trainer.images_seen:012d}"
        with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
            checkpoint = None
            if rank() == 0:
                folder = Path(temporary) / name
                save_checkpoint(folder, self.state())
                checkpoint = train.Checkpoint.from_directory(folder)
            metrics = {"images": self.trainer.images_seen}
            train.report(metrics, checkpoint=checkpoint, checkpoint_dir_name=name)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        progress = {"history": self.history}
        return {"trainer": self.trainer.state_dict(), "best": self.best, "progress": progress}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.trainer.load_state_dict(state["trainer"])
        self.best, self.history = state["best"], state["progress"]["history"]


STAGE = Stage(
    "train",
    run,
    config=(
        "seed",
        "model",
        "train.images",
        "train.score_every",
        *(f"train.{k}" for k in _SHAPING),
    ),
    inputs={
        "prepare": ("train_*.npy", "dataset.json"),
        "reference": ("extractor.safetensors", "features_select.npy"),
    },
)
