"""How long a generator's 10,000 images take to make and to score by everything there is, on two cores.

``python -m tests.benchmarks.evaluating``: the networks of ``configs/mnist.yaml`` and its extractor, as
they begin; what they have learned changes no time.
"""

import time
from pathlib import Path

import numpy as np
import torch

from bngan.data import ImageSpec
from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.features import Features
from bngan.metrics.protocol import Protocol, floor
from bngan.networks import build_generator
from bngan.sampling import Sampler
from pipeline.config import load_config
from tests.benchmarks.rates import Row, table

COUNT, TRAIN = 10_000, 50_000
MNIST = Path(__file__).parents[2] / "configs" / "mnist.yaml"


def rows() -> list[Row]:
    """Wall seconds, and where they go."""
    torch.set_num_threads(2)
    shape = (1, 28, 28)
    extractor, spec = untrained_extractor(shape, classes=10), ImageSpec(shape)
    model = load_config(MNIST, ["data.path=embedded:digits"]).model
    sampler = Sampler(model, spec, build_generator(model, spec).state_dict())
    random, width = np.random.default_rng(0), extractor.info.features
    features = random.normal(size=(TRAIN + COUNT, width)).astype(np.float32)
    logits = random.normal(size=(TRAIN + COUNT, 10)).astype(np.float32)
    known = Features(features, logits)
    real = known.take(slice(TRAIN, None))
    protocol = Protocol.parse(f"fid{COUNT}_test")
    reference = Reference(protocol, extractor, real, floor([real], COUNT))
    times = [time.perf_counter()]
    images = sampler.images(0, range(COUNT))
    times.append(time.perf_counter())
    fake = extractor(images)
    times.append(time.perf_counter())
    evaluation(reference, {0: fake}, features[:TRAIN])
    times.append(time.perf_counter())
    total, parts = times[-1] - times[0], np.diff(times)
    what = f"{COUNT:,} images of mnist.yaml: sampled, scored by everything, with intervals"
    named = zip(("images", "features", "scores"), parts, strict=True)
    return [
        Row(what, total, "s", most=30),
        *(Row(f"of it {name}", float(seconds), "s") for name, seconds in named),
    ]


if __name__ == "__main__":
    print(table(rows()))
