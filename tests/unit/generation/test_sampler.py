import json

import numpy as np
import pytest
import torch

from bngan.batchnorm.calibration import calibrate
from bngan.data.dataset import ImageSpec
from bngan.data.images import from_uint8, grid, png_bytes, to_uint8
from bngan.generation.latents import indexed_labels
from bngan.generation.sampler import Sampler
from bngan.networks.config import GeneratorConfig, ModelConfig
from bngan.networks.factory import build_generator


def build(conditional: bool) -> Sampler:
    torch.manual_seed(0)
    model = ModelConfig("dcgan", 6, conditional, GeneratorConfig(8))
    spec = ImageSpec((3, 16, 16), (0.75, 0.0, 0.25), ("Emoji", "apps", "2nd"))
    sampler = Sampler(model, spec, build_generator(model, spec).state_dict())
    calibrate(sampler.generator, lambda: sampler.calibration_batches(1000))
    return sampler


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conditional"])
def sampler(request: pytest.FixtureRequest) -> Sampler:
    return build(request.param)


def test_an_image_is_the_same_alone_and_among_others(sampler) -> None:
    many = sampler.images(3, range(600))
    assert many.shape == (600, 16, 16, 3)
    assert many.dtype == np.uint8
    for indices in ([577], list(range(570, 577)), list(range(536, 600)), [5, 577, 5]):
        few = sampler.images(3, indices)
        # One grey level is what another blocking of the same sums may leave.
        assert np.abs(few.astype(int) - many[indices].astype(int)).max() <= 1
    assert not np.array_equal(sampler.images(4, [0]), sampler.images(3, [0]))


def test_a_group_by_its_own_statistics_is_always_whole(sampler) -> None:
    grouped = sampler.with_batch_statistics(16)
    labels = np.arange(17) % 3 if sampler.model.conditional else None
    few = grouped.images(3, range(17), labels=labels)
    assert few.shape == (17, 16, 16, 3)
    if labels is None:
        whole = grouped.images(3, range(32))
        assert np.abs(few.astype(int) - whole[:17].astype(int)).max() <= 1


def test_bad_requests_are_refused(sampler) -> None:
    for truncation in (0, -1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="truncation"):
            sampler.images(0, [0], truncation)
    with pytest.raises(ValueError, match="negative"):
        sampler.images(0, [-1])
    assert sampler.images(0, []).shape == (0, 16, 16, 3)


def test_a_saved_generator_is_the_same_generator(sampler, tmp_path) -> None:
    sampler.save(tmp_path, images_seen=7)
    again = Sampler.load(tmp_path)
    np.testing.assert_array_equal(again.images(0, range(10)), sampler.images(0, range(10)))
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_a_generator_knows_the_names_of_its_classes(sampler, tmp_path) -> None:
    sampler.save(tmp_path)
    again = Sampler.load(tmp_path)
    if not sampler.model.conditional:
        assert again.class_names == []
        return
    assert again.class_names == ["Emoji", "apps", "2nd"]
    by_number = sampler.images(0, range(4), labels=[1, 1, 0, 2])
    by_name = again.images(0, range(4), labels=["apps", "1", "Emoji", "2nd"])
    np.testing.assert_array_equal(by_name, by_number)
    for wrong in (3, "appz"):
        with pytest.raises(ValueError, match=f"there is no class {wrong}: (1 apps|0 Emoji), "):
            again.images(0, [0], labels=[wrong])


def test_a_generator_of_earlier_code_names_classes_by_number(tmp_path) -> None:
    sampler = build(conditional=True)
    sampler.save(tmp_path)
    path = tmp_path / "generator.json"
    described = json.loads(path.read_text())
    del described["spec"]["class_names"]
    path.write_text(json.dumps(described))
    old = Sampler.load(tmp_path)
    assert old.class_names == ["0", "1", "2"]
    labels = [2, 0, 1]
    np.testing.assert_array_equal(
        old.images(0, range(3), labels=[str(label) for label in labels]),
        sampler.images(0, range(3), labels=labels),
    )
    with pytest.raises(ValueError, match="there is no class apps: classes are 0 to 2"):
        old.images(0, [0], labels=["apps"])


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c", "d"], ["a", "b", 3], "abc", {"a": 1}])
def test_names_that_are_not_of_the_classes_are_refused(names, tmp_path) -> None:
    build(conditional=True).save(tmp_path)
    path = tmp_path / "generator.json"
    described = json.loads(path.read_text())
    described["spec"]["class_names"] = names
    path.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"generator.json: spec.class_names"):
        Sampler.load(tmp_path)


def test_labels_occur_as_often_as_in_training_and_depend_on_their_index() -> None:
    labels = indexed_labels(0, range(4000), (0.75, 0.0, 0.25))
    assert labels.bincount(minlength=3)[1] == 0
    assert (labels == 2).double().mean().item() == pytest.approx(0.25, abs=0.03)
    assert indexed_labels(0, [1234], (0.75, 0.0, 0.25)) == labels[1234]
    for first in (2**50, 2**63, 2**64 - 1000):
        far = indexed_labels(0, range(first, first + 1000), (0.75, 0.0, 0.25))
        assert (far == 2).double().mean().item() == pytest.approx(0.25, abs=0.01), first


def test_every_grey_level_survives_the_round_trip() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    np.testing.assert_array_equal(to_uint8(from_uint8(levels)), levels)
    assert to_uint8(torch.tensor([[[[-2.0, 2.0]]]])).tolist() == [[[[0], [255]]]]


def test_a_grid_shows_each_image_in_its_place() -> None:
    images = np.zeros((3, 4, 4, 3), np.uint8)
    images[2] = 200
    picture = np.asarray(grid(images, min_side=11))
    assert picture.shape == (11, 11, 3)
    assert (picture[6:10, 1:5] == 200).all()
    assert (picture[1:5, 1:5] == 0).all()
    assert png_bytes(images[..., :1]).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="at least one"):
        grid(images[:0])


@pytest.mark.parametrize("size", [(24, 40), (96, 64)])
def test_images_are_rows_by_columns_in_arrays_and_pictures(size: tuple[int, int]) -> None:
    height, width = size
    model, spec = ModelConfig("dcgan", 6, False, GeneratorConfig(4)), ImageSpec((3, *size))
    sampler = Sampler(model, spec, build_generator(model, spec).state_dict())
    images = sampler.images(0, range(6))
    assert images.shape == (6, height, width, 3)
    assert sampler.images(0, []).shape == (0, height, width, 3)
    assert sampler.interpolations(0, 2, 3).shape == (6, height, width, 3)
    picture = grid(images, columns=3, min_side=1)
    assert picture.size == (3 * (width + 1) + 1, 2 * (height + 1) + 1)
    row, column = height + 2, 2 * (width + 1) + 1
    found = np.asarray(picture)[row : row + height, column : column + width]
    np.testing.assert_array_equal(found, images[5])
