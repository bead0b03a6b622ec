"""``train.micro_batch: auto``, found once for a training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bngan.data.dataset import ImageSpec
from bngan.networks.config import ModelConfig
from bngan.training.config import OptimizationConfig
from pipeline.config.loader import load_config
from pipeline.config.schema import Config
from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.training import micro_batch
from pipeline.training.factory import trainer_settings

ROOT = Path(__file__).parents[3]


def settings(folder: Path, **train: Any) -> dict[str, Any]:
    images = np.zeros((8, 4, 4, 1), np.uint8)
    np.save(folder / "train_images.npy", images)
    np.save(folder / "train_labels.npy", np.zeros(8, np.int64))
    (folder / "dataset.json").write_text('{"classes": []}')
    config: Config = load_config(ROOT / "configs" / "digits.yaml")
    made = trainer_settings(config, str(folder), None)
    return {**made, "train": {**made["train"], **train}}


def test_the_number_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = list[int](), list[Any]()

    def largest(model: ModelConfig, train: OptimizationConfig, images: ImageSpec, _: Any) -> int:
        asked.append(train.batch_size)
        assert images.shape == (1, 4, 4)
        return 16

    monkeypatch.setattr(micro_batch, "largest_pass", largest)
    store = Checkpoints(Workspace(str(tmp_path / "runs")), "training/x")
    auto = settings(tmp_path, micro_batch="auto", batch_size=64)
    for _ in range(3):
        found = micro_batch.with_micro_batch(auto, "cpu", store, told.append)
        assert found["train"]["micro_batch"] == 16
        assert found["train"]["batch_size"] == 64
        assert found["train"]["data_on_device"] == "never"
    assert asked == [64]
    assert told == [{"message": "train.micro_batch=auto: 16 of 64 images in one pass"}] * 3
    assert auto["train"]["micro_batch"] == "auto"
    (store.folder / "micro_batch.json").write_text("{")  # a disk that was full
    micro_batch.with_micro_batch(auto, "cpu", store, told.append)
    assert asked == [64, 64]


@pytest.mark.parametrize("number", [None, 32])
def test_a_number_stays(tmp_path: Path, number: int | None) -> None:
    store = Checkpoints(Workspace(str(tmp_path / "runs")), "training/x")
    given = settings(tmp_path, micro_batch=number)
    assert micro_batch.with_micro_batch(given, torch.device("cpu"), store, pytest.fail) is given
