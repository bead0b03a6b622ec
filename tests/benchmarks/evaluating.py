"""How long a generator's 10,000 images take to make and to score by everything there is, on two cores.

``python -m tests.benchmarks.evaluating``: the networks of ``configs/mnist.yaml`` and its extractor, as
they begin; what they have learned changes no time. And Inception's features, beside its bare forward.
"""

import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from bngan.data.dataset import ImageSpec
from bngan.generation.sampler import Sampler
from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.features import Features
from bngan.metrics.pretrained import inception
from bngan.metrics.protocol import Protocol
from bngan.metrics.scores import real_vs_real
from bngan.networks.factory import build_generator
from pipeline.config.loader import load_config
from tests.benchmarks.rates import Row, rates, table

COUNT, TRAIN = 10_000, 50_000
SEEN = 25
"""Images that Inception is shown in a turn."""
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
    print(table(rows() + inception_rows()))
