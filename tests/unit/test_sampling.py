import numpy as np
import pytest
import torch

from bngan.images import from_uint8, grid, png_bytes, to_uint8
from bngan.latents import calibration_latents
from bngan.networks import GeneratorConfig, ModelConfig, build_generator
from bngan.normalization import calibrate
from bngan.sampling import Sampler


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    torch.manual_seed(0)
    model = ModelConfig("dcgan", 6, GeneratorConfig(8))
    sampler = Sampler(model, (3, 16, 16), build_generator(model, (3, 16, 16)).state_dict())
    calibrate(sampler.generator, lambda: calibration_latents(6, 1000))
    return sampler


def test_an_image_is_the_same_alone_and_among_others(sampler) -> None:
    many = sampler.images(3, range(600))
    assert many.shape == (600, 16, 16, 3)
    assert many.dtype == np.uint8
    for indices in ([577], list(range(570, 584)), [5, 577, 5]):
        few = sampler.images(3, indices)
        # One grey level is what another blocking of the same sums may leave.
        assert np.abs(few.astype(int) - many[indices].astype(int)).max() <= 1
    assert not np.array_equal(sampler.images(4, [0]), sampler.images(3, [0]))


def test_bad_requests_are_refused(sampler) -> None:
    for truncation in (0, -1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="truncation"):
            sampler.images(0, [0], truncation)
    with pytest.raises(ValueError, match="negative"):
        sampler.images(0, [-1])
    assert sampler.images(0, []).shape == (0, 16, 16, 3)


def test_a_saved_generator_is_the_same_generator(sampler, tmp_path) -> None:
    sampler.save(tmp_path, images=7)
    again = Sampler.load(tmp_path)
    np.testing.assert_array_equal(again.images(0, range(10)), sampler.images(0, range(10)))
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors", ".json"}


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
