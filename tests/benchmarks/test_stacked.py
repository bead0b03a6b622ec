"""Nothing is dropped: all modes of stacked digits."""

import numpy as np
import pytest

from bngan.metrics.features import Features
from tests.benchmarks.stacked import DIGITS, modes, run, stack


@pytest.mark.slow
def test_stacked_digits_keep_their_thousand_modes() -> None:
    found, real, _ = run("embedded:digits", DIGITS)
    assert real.count >= 995
    assert found.count >= 995
    assert found.divergence <= 0.15


def test_modes_are_counted_and_weighed() -> None:
    """A classifier that reads a digit off a pixel; ten equal triples, or all thousand."""

    def classifier(images: np.ndarray) -> Features:
        return Features(np.zeros((len(images), 1)), np.eye(10)[images[:, 0, 0, 0]])

    digits = np.arange(10, dtype=np.uint8)[:, None, None, None]
    same = np.repeat(digits, 3, axis=3)
    few = modes(same, classifier)  # type: ignore[arg-type]
    assert few.count == 10
    assert few.divergence == pytest.approx(np.log(100))
    every = np.stack(np.meshgrid(*[np.arange(10)] * 3), axis=-1).reshape(1000, 1, 1, 3)
    assert modes(every, classifier) == (1000, pytest.approx(0, abs=1e-9))  # type: ignore[arg-type]
    stacked = stack(digits, 500, seed=0)
    assert stacked.shape == (500, 1, 1, 3)
    assert len(np.unique(stacked.reshape(500, 3), axis=0)) > 350
