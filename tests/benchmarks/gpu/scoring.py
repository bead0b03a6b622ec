"""Images of a trained generator, and their scores."""

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bngan.batchnorm.calibration import calibrate
from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import Reference, evaluation
from bngan.metrics.protocol import Protocol
from bngan.metrics.scores import point_scores
from tests.benchmarks.gpu.library import Sampler
from tests.benchmarks.gpu.session import Session, Values
from tests.benchmarks.gpu.timing import wait
from tests.benchmarks.gpu.works import dcgan_model, fitting, noise, trainer

CLASSES = 10


def run(session: Session) -> None:
    """Make rows for sampling, calibration, features and scores."""
    found: dict[str, Any] = {}
    side, count = session.choose(64, 16), session.choose(10_000, 60)

    def made(name: str, work: Callable[[], Any], amount: int = count) -> Values:
        began = time.perf_counter()
        found[name] = work()
        wait(session.device)
        took = time.perf_counter() - began
        return {"seconds": took, "images/s": amount / took}

    def sampler() -> Values:
        return made("sampler", lambda: _sampler(session, side))

    def images() -> Values:
        found["sampler"].images(1, range(min(count, 500)))
        return made("images", lambda: found["sampler"].images(0, range(count)))

    def calibrated() -> Values:
        one = found["sampler"]
        return made("calibrated", lambda: calibrate(one.generator, one.calibration_batches))

    def features() -> Values:
        extractor = untrained_extractor((3, side, side), CLASSES).to(session.device)
        found["extractor"] = extractor
        extractor(found["images"][:500])
        found["real"] = extractor(noise(side).images[:count])
        return made("fake", lambda: extractor(found["images"]))

    def cheap() -> Values:
        return made("scores", lambda: point_scores(found["fake"], found["real"])) | {
            "fid": found["scores"]["fid"]
        }

    def everything() -> Values:
        real = found["real"]
        protocol = Protocol.parse(f"fid{len(real.features)}_test")
        reference = Reference(protocol, found["extractor"], real, {})
        return made("record", lambda: evaluation(reference, {0: found["fake"]}))

    session.attempt(f"a sampler of DCGAN {side}x{side} after 20 steps", sampler)
    session.attempt("calibration on the library's latents", calibrated)
    session.attempt(f"{count:,} images sampled", images)
    session.attempt(f"{count:,} images' features by the classifier", features)
    session.attempt(f"{count:,} images' FID and what the classifier says", cheap)
    session.attempt(
        f"{count:,} images scored by everything, with intervals", everything, session.choose(8.0, 0)
    )


def _sampler(session: Session, side: int) -> Sampler:
    one = trainer(dcgan_model(session.choose(64, 8)), side, 128, session.device)
    fitting(one, noise(side))(session.choose(20, 1))
    state = copy.deepcopy(one.ema.module).cpu().state_dict()
    sampler = Sampler(one.model, one.images, state).to(session.device)
    assert np.isfinite(sum(float(value.double().sum()) for value in state.values()))
    return sampler
