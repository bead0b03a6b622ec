"""How long a generator's 10,000 images take to make and to score by everything there is, on two cores.

``python -m tests.benchmarks.evaluating``: the networks of ``configs/mnist.yaml`` and its extractor, as
they begin; what they have learned changes no time. And Inception's features, beside its bare forward.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from bngan.data.dataset import ImageSpec
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import ResidualClassifier, untrained_extractor
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.features import Extractor, ExtractorInfo, Features
from bngan.metrics.imagenet import imagenet
from bngan.metrics.memorization import CopyDetector
from bngan.metrics.pretrained import inception
from bngan.metrics.protocol import Protocol
from bngan.metrics.scores import real_vs_real
from bngan.metrics.second_space import MOST_IMAGES, SecondSpace
from bngan.networks.factory import build_generator
from pipeline.config.loader import load_config
from pipeline.config.schema import RegisterConfig
from pipeline.evaluation.promotion import judge
from pipeline.evaluation.vetoes import Draw, GateCandidate
from tests.benchmarks.rates import Row, rates, table

COUNT, TRAIN = 10_000, 50_000
AXES = 2000
SEEN = 25
"""Images that Inception is shown in a turn."""
CONFIGS = Path(__file__).parents[2] / "configs"
MNIST, PHOTOGRAPHS = CONFIGS / "mnist.yaml", CONFIGS / "your_images.yaml"


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
    reference = Reference(protocol, extractor, real, real_vs_real([real], COUNT, extractor.sha256))
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


def gate_rows() -> list[Row]:
    """Wall seconds of one draw of the gate on photographs, which asks a classifier as well."""
    torch.set_num_threads(2)
    shape, random = (3, 32, 32), np.random.default_rng(0)
    model, spec = load_config(PHOTOGRAPHS, ["data.path=embedded:digits"]).model, ImageSpec(shape)
    sampler = Sampler(model, spec, build_generator(model, spec).state_dict())
    pixels = random.integers(0, 256, (AXES, 32, 32, 3), dtype=np.uint8)
    extractor = imagenet(shape).with_axes(pixels)
    info = ExtractorInfo("classifier", shape, 64, 10, network="residual")
    classifier = Extractor(ResidualClassifier(shape, 10), info)
    train, real = (
        random.normal(size=(count, extractor.info.features)).astype(np.float32)
        for count in (TRAIN, COUNT)
    )
    known = Features(real, np.zeros((COUNT, 0), np.float32))
    space = SecondSpace(classifier(pixels).features, classifier)
    times = {"images": 0.0, "ImageNet features": 0.0, "classifier's features": 0.0}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = call()
        times[name] += time.perf_counter() - started
        return result

    def draw(number: int) -> Draw:
        images = timed("images", lambda: sampler.images(number, range(COUNT)))
        features = timed("ImageNet features", lambda: extractor(images))
        few = images[:MOST_IMAGES]
        return Draw(features, timed("classifier's features", lambda: space.describe(few)))

    started, copies = time.perf_counter(), CopyDetector(real, train)
    judge(RegisterConfig("x"), known, space, *[GateCandidate(draw, copies)] * 2, draws=1)
    total = time.perf_counter() - started
    what = f"one draw of the gate: {COUNT:,} images of each generator, your_images.yaml at 32x32"
    times["scores"] = total - sum(times.values())
    return [Row(what, total, "s", most=60), *(Row(f"of it {n}", s, "s") for n, s in times.items())]


def random_inception(path: Path) -> Path:
    """Inception at random weights, as a file of the kind that torch-fidelity reads."""
    torch.manual_seed(0)
    with (
        patch.object(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None),
        patch.object(torch, "load", lambda *args, **options: {}),
    ):
        network = FeatureExtractorInceptionV3("random", ["2048"], "nowhere")
    torch.save(network.state_dict(), path)
    return path


def inception_rows() -> list[Row]:
    """Images a second, from grey ones as they are kept, beside the forward of a ready batch."""
    torch.set_num_threads(1)
    names = ["2048", "logits_unbiased"]
    with tempfile.TemporaryDirectory() as folder:
        weights = random_inception(Path(folder, "weights.pth"))
        ours = inception((1, 32, 32), weights)
        bare = FeatureExtractorInceptionV3("bare", names, str(weights)).eval()
    images = np.random.default_rng(0).integers(0, 256, (SEEN, 32, 32, 1), dtype=np.uint8)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).repeat(1, 3, 1, 1)

    def forward() -> float:
        with torch.inference_mode():
            bare(batch)
        return SEEN

    def features() -> float:
        return float(len(ours(images).features))

    found = rates({"ours": features, "bare": forward})
    beside = "torch-fidelity's forward alone"
    what = "Inception's features, one core"
    return [Row(what, found["ours"], "images/s", beside, found["bare"], least=0.95)]


if __name__ == "__main__":
    print(table(rows() + gate_rows() + inception_rows()))
