"""A run on images that are not square, from the configuration to the files it leaves."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bngan.generation.sampler import Sampler
from tests.commands import bngan
from tests.integration.conftest import run

pytestmark = pytest.mark.full


def test_a_run_at_height_and_width(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    result = run(
        workspace,
        "data.image_size=[12,20]",
        "model.network=dcgan",
        "model.generator.attention=[10]",
        "train.images=1000",
        "train.score_every=1000",
        "evaluate.protocol=fid100_test",
        "register.draws=1",
    )
    # 8 x 8 cells of an image and a line, and one more line, all enlarged
    assert Image.open(result["grid"]).size == (3 * (8 * 21 + 1), 3 * (8 * 13 + 1))
    assert "12 x 20 pixels" in Path(result["report"]).read_text()
    uri, each = result["model"]["uri"], tmp_path / "each"
    bngan("sample", uri, "--workspace", workspace, "--count", "2", "--separately", "-o", each)
    assert {Image.open(path).size for path in each.iterdir()} == {(20, 12)}
    (folder,) = {path.parent for path in workspace.glob("stages/train/*/generator.safetensors")}
    assert Sampler.load(folder).images(0, [0]).shape == (1, 12, 20, 1)
    (images,) = workspace.glob("stages/prepare/*/train_images.npy")
    assert np.load(images, mmap_mode="r").shape[1:] == (12, 20, 1)
