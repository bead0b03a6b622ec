"""Scoring without a cluster: which images are made and taken; what is said of a damaged reference."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bngan.data.dataset import ImageSpec
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import Reference
from bngan.metrics.features import Extractor, Features
from bngan.metrics.pretrained import from_file
from bngan.metrics.protocol import Protocol
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_generator
from pipeline.core.errors import UserError
from pipeline.evaluation.scoring import _features_of_folder, generated_features, load_reference

SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def reference(extractor: Extractor, count: int) -> Reference:
    real = extractor(np.zeros((count, 8, 8, 1), np.uint8))
    return Reference(Protocol.parse(f"fid{count}_test"), extractor, real, {"count": 1.0})


@pytest.mark.parametrize("chunk", [1000, 64, 10])
@pytest.mark.parametrize("group", [None, 24, 128])
def test_as_many_images_are_scored_whatever_shares_its_statistics(
    group: int | None, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.evaluation.scoring._CHUNK", chunk)
    model, spec = ModelConfig(), ImageSpec(SHAPE)
    sampler = Sampler(model, spec, build_generator(model, spec).state_dict())
    extractor = untrained_extractor(SHAPE)
    sampler.save(tmp_path)
    extractor.save(tmp_path)
    told: list[tuple[int, int]] = []
    found = generated_features(
        tmp_path, tmp_path, 0, 100, "cpu", lambda *progress: told.append(progress), group
    )
    assert len(found.features) == 100
    assert told[-1] == (100, 100)
    if group is not None:  # every image in a whole group, the last ones too
        sampler = sampler.with_batch_statistics(group)
    images = sampler.batches(0, range(128 if group == 128 else 120))
    expected = Features.join(extractor(batch) for batch in images).take(slice(100))
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-4, atol=1e-4)


def test_images_of_a_folder_are_a_random_sample_of_it(tmp_path: Path) -> None:
    """Sorted by class, as files often are: first 60 black ones, then 60 white ones."""
    for index in range(120):
        image = Image.new("L", (8, 8), 255 * (index >= 60))
        image.save(tmp_path / f"{index:03d}.png")
    judge = reference(untrained_extractor(SHAPE), 40)
    found = _features_of_folder(tmp_path, judge).features
    black = judge.extractor(np.zeros((1, 8, 8, 1), np.uint8)).features
    blacks = np.isclose(found, black, atol=1e-5).all(axis=1)
    assert 10 <= blacks.sum() <= 30
    assert 0 < blacks[:10].sum() < 10  # mixed
    np.testing.assert_array_equal(_features_of_folder(tmp_path, judge).features, found)


def test_folders_of_generated_images_make_no_splits(tmp_path: Path) -> None:
    """40 images are needed, and train alone has 30; a file called metadata.csv means nothing."""
    for folder, count in (("train/a", 30), ("test", 30), (".", 20)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("L", (8, 8), index).save(tmp_path / folder / f"{index:03d}.png")
    (tmp_path / "metadata.csv").write_text("seed,steps\n1,2\n")
    judge = reference(untrained_extractor(SHAPE), 80)
    assert len(_features_of_folder(tmp_path, judge).features) == 80


def test_a_reference_whose_extractor_is_damaged_says_so_in_a_line(tmp_path: Path) -> None:
    network, folder = tmp_path / "network.pt", tmp_path / "reference"
    torch.jit.trace(nn.Flatten(), torch.zeros(2, *SHAPE)).save(str(network))
    folder.mkdir()
    reference(from_file(SHAPE, network, None, "unit"), 20).save(folder)
    network.unlink()
    assert load_reference(folder).extractor.info.features == 64
    (folder / "extractor.pt").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"extractor\.pt is not the extractor it was"):
        load_reference(folder)
    (folder / "extractor.pt").unlink()
    with pytest.raises(UserError, match=r"weights cannot be read: .*extractor\.pt"):
        load_reference(folder)
