"""Cases of the training that together hold every pair of settings, as combinations.json keeps them.

The search takes minutes. ``python -m tests.unit.training.combinations`` repeats it and writes the file.
"""

import json
import random
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bngan.data.dataset import ImageSplit
from bngan.diagnostics.checks import network_errors
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.training.config import OptimizationConfig, optimizer_errors
from bngan.training.losses import LOSSES
from bngan.training.penalties import PENALTIES

NORMS = ["batch", "layer", "group", "instance", "none"]
WEIGHT_NORMS = ["none", "spectral", "weight"]
AXES: dict[str, list[Any]] = {
    "network": ["mlp", "dcgan", "resnet", "transformer"],
    "conditional": [False, True],
    "generator.norm": ["self_modulated_batch", *NORMS],
    "generator.norm_place": ["before_activation", "after_activation"],
    "generator.activation": ["relu", "elu", "silu", "gelu", "none"],
    "generator.weight_norm": WEIGHT_NORMS,
    "generator.initialization": ["auto", "torch", "glorot", "he", "normal", "orthogonal"],
    "generator.attention": [[], [5]],
    "generator.output_norm": [False, True],
    "generator.mapping": [0, 1],
    "discriminator.norm": NORMS,
    "discriminator.norm_first": [False, True],
    "discriminator.weight_norm": WEIGHT_NORMS,
    "discriminator.batch_statistics": ["separate", "joint"],
    "discriminator.attention": [[], [5]],
    "train.loss": list(LOSSES),
    "train.label_smoothing": [0.0, 0.1],
    "train.penalty": ["none", *PENALTIES],
    "train.discriminator_steps": [1, 2],
    "train.micro_batch": [None, 4],
    "train.optimizer": ["adam", "adamw"],
    "train.trainable": ["all", "affine"],
    "train.lr_schedule": ["constant", "linear", "cosine"],
    "train.augment": [[], ["translation", "cutout", "color"]],
    "train.precision": ["float32", "bfloat16"],
}
BATCH = 8
_random = np.random.default_rng(0)
DATA = ImageSplit(
    _random.integers(0, 256, (20, 9, 9, 3), dtype=np.uint8), _random.integers(0, 2, 20), flip=True
)
FILE = Path(__file__).with_name("combinations.json")
Choice = dict[str, int]
"""The number of the value that each axis has."""
Pair = tuple[tuple[str, int], tuple[str, int]]
"""Values of two axes."""


def configured(choice: Choice) -> tuple[ModelConfig, OptimizationConfig]:
    """The axes' values by section; what a value needs besides itself comes with it."""
    sections: dict[str, dict[str, Any]] = {"generator": {}, "discriminator": {}, "train": {}}
    model: dict[str, Any] = {}
    for axis, number in choice.items():
        section, _, key = axis.rpartition(".")
        (sections[section] if section else model)[key] = AXES[axis][number]
    train = sections["train"]
    if train["micro_batch"]:
        train["norm_batch"] = 4
    if train["lr_schedule"] != "constant":
        train["lr_decay_end"] = 3 * BATCH
    return ModelConfig(
        **model,
        latent_dim=6,
        generator=GeneratorConfig(width=8, depth=2, **sections["generator"]),
        discriminator=DiscriminatorConfig(width=8, depth=2, **sections["discriminator"]),
    ), OptimizationConfig(batch_size=BATCH, lr=1e-3, lr_final_factor=0.5, **train)


def allowed(choice: Choice) -> bool:
    model, train = configured(choice)
    return not list(optimizer_errors(model, train)) and not list(network_errors(model, DATA.spec))


def pairs(choice: Choice) -> set[Pair]:
    return set(combinations(sorted(choice.items()), 2))


def all_pairs() -> set[Pair]:
    values = [(axis, number) for axis in sorted(AXES) for number in range(len(AXES[axis]))]
    return {(one, other) for one, other in combinations(values, 2) if one[0] != other[0]}


def covering() -> tuple[list[Choice], set[Pair]]:
    """Choose allowed cases greedily until every pair that can be had is in one; and the other pairs."""
    draw, found, covered, every = random.Random(0), list[Choice](), set[Pair](), all_pairs()
    for pair in sorted(every):
        if pair in covered:
            continue
        good = list[Choice]()
        for _ in range(60):
            choice = {
                axis: 0 if draw.random() < 0.5 else draw.randrange(len(values))
                for axis, values in AXES.items()
            } | dict(pair)
            if allowed(choice):
                good.append(choice)
            if len(good) == 4:
                break
        if good:
            best = max(good, key=lambda choice: len(pairs(choice) - covered))
            found.append(best)
            covered |= pairs(best)
    return found, every - covered


def stored() -> tuple[dict[str, list[Any]], list[Choice]]:
    """The axes and the cases of the file."""
    content = json.loads(FILE.read_text())
    axes: dict[str, list[Any]] = content["axes"]
    return axes, [dict(zip(axes, map(int, case), strict=True)) for case in content["cases"]]


def as_text(cases: list[Choice]) -> str:
    """A digit for each axis, a line for each case."""
    lines = ["".join(str(case[axis]) for axis in AXES) for case in cases]
    return json.dumps({"axes": AXES, "cases": lines}, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_text(covering()[0]))
