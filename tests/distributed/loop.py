"""The training loop as its tests run it: small, on gloo, and killed when told to."""

import copy
import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bngan.distributed.collectives import rank
from bngan.metrics.classifier import untrained_extractor
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.serialization.checkpoint import CheckpointStore
from bngan.training.config import ExecutionConfig, OptimizationConfig
from pipeline.core.lock import OWNER
from pipeline.storage.artifacts import SELECT_FEATURES
from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.training.loop import TrainingLoop

BATCH, EPOCH = 12, 50


def prepare(folder: Path) -> dict[str, Any]:
    """Settings for a training in ``folder`` whose every choice is default but size and pace."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (EPOCH, 16, 16, 1), dtype=np.uint8)
    np.save(folder / "train_images.npy", images)
    np.save(folder / "train_labels.npy", random.integers(0, 3, EPOCH))
    (folder / "dataset.json").write_text('{"classes": ["0", "1", "2"]}')
    extractor = untrained_extractor((1, 16, 16))
    extractor.save(folder)
    extractor(images).save(folder / SELECT_FEATURES)
    model = ModelConfig(
        "dcgan", 6, False, GeneratorConfig(4), DiscriminatorConfig(4, weight_norm="spectral")
    )
    training = OptimizationConfig(batch_size=BATCH, penalty="r1", penalty_every=3)
    pace = {"images": 600, "score_every": 200, "checkpoint_every_seconds": 0.0, "patience": None}
    policy = {"on_nonfinite": "rollback", "on_collapse": "warn", "max_rollbacks": 2}
    return {
        "prepared": str(folder),
        "reference": str(folder),
        "attempt": "test",
        "model": asdict(model),
        "train": asdict(training) | asdict(ExecutionConfig()) | pace | policy,
        "adapt": None,
        "flip": True,
        "seed": 5,
    }


def in_storage(settings: dict[str, Any], storage: Path, **train: Any) -> dict[str, Any]:
    """``settings`` with a storage folder of its own, and other values for ``train``."""
    settings = copy.deepcopy(settings)
    settings["workspace"], settings["training"] = str(storage.parent), storage.name
    settings["train"] |= train
    storage.mkdir(exist_ok=True)
    (storage / OWNER).write_text(json.dumps({"attempt": settings["attempt"]}))
    return settings


def run_loop(
    settings: dict[str, Any],
    kill_at: float = float("inf"),
    victim: int = 0,
    sabotage: Callable[[TrainingLoop], None] | None = None,
) -> list[dict[str, Any]]:
    """Run it; worker ``victim`` dies by SIGKILL after ``kill_at`` images. What was told."""
    told: list[dict[str, Any]] = []

    def between_breaths() -> bool:
        if loop.trainer.images_seen >= kill_at and rank() == victim:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    loop = TrainingLoop(settings, "cpu", checkpoints(settings), told.append, between_breaths)
    loop.breath = 2 * BATCH
    if sabotage:
        sabotage(loop)
    with mock.patch("pipeline.training.loop._SAVING_SHARE", float("inf")):
        loop.run()
    return told


def checkpoints(settings: dict[str, Any]) -> Checkpoints:
    return Checkpoints(Workspace(settings["workspace"]), settings["training"])


def outcome(storage: Path) -> tuple[bytes, Any]:
    """Tensors of the last checkpoint as bytes, and what it says, but for seconds."""
    store = CheckpointStore(storage)
    state = store.latest()
    assert state is not None
    timed = ("seconds", "images_per_second", "score_seconds")
    history = [
        {key: value for key, value in record.items() if key not in timed}
        for record in state["progress"]["history"]
    ]
    folder = store.path(store.saved()[-1])
    return (folder / "state.safetensors").read_bytes(), history
