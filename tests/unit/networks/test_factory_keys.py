"""Names and shapes of all weights of every shipped configuration: stored states carry them."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from bngan.data.dataset import ImageSpec
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_discriminator, build_generator
from bngan.numerics.torch_internals import skip_initialization

Shapes = dict[str, dict[str, list[int]]]
"""By network and key."""
CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
KEYS = Path(__file__).with_name("state_dict_keys.json")
"""What renames a key needs a conversion of stored states (bngan/networks/old_keys.py) and then
``KEYS.write_text(as_text())``."""
CLASSES = {"embedded:patches": 2}
IMAGES = {
    "embedded:digits": (1, 8, 8),
    "embedded:patches": (3, 32, 32),
    "hub:uoft-cs/cifar10": (3, 32, 32),
    "hub:ylecun/mnist": (1, 28, 28),
    "hub:zalando-datasets/fashion_mnist": (1, 28, 28),
}
"""By where they come from; others are in colour, with the configured side."""


def shapes(path: Path) -> Shapes:
    """Of the networks that a configuration describes, without making their weights."""
    config = yaml.safe_load(path.read_text())
    data, model = config["data"], ModelConfig.from_dict(config["model"])
    shape = IMAGES.get(data["path"]) or (3, data["image_size"], data["image_size"])
    classes = CLASSES.get(data["path"], 10)
    spec = ImageSpec(shape, (1 / classes,) * classes)
    with torch.device("meta"), skip_initialization():
        networks = {
            "generator": build_generator(model, spec),
            "discriminator": build_discriminator(model, spec),
        }
    return {
        part: {key: list(value.shape) for key, value in network.state_dict().items()}
        for part, network in networks.items()
    }


def as_text() -> str:
    """A line per network."""
    configs = (
        f'"{path.stem}": {{\n'
        + ",\n".join(f'  "{part}": {json.dumps(found)}' for part, found in shapes(path).items())
        + "\n}"
        for path in CONFIGS
    )
    return "{\n" + ",\n".join(configs) + "\n}\n"


def test_every_shipped_configuration_is_pinned() -> None:
    assert list(json.loads(KEYS.read_text())) == [path.stem for path in CONFIGS]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_weight_is_renamed_reshaped_or_moved(path: Path) -> None:
    expected = json.loads(KEYS.read_text())[path.stem]
    for part, found in shapes(path).items():
        assert list(found.items()) == list(expected[part].items()), part
