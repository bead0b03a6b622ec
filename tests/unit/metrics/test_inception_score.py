"""The Inception Score."""

import numpy as np
import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from bngan.metrics.inception_score import inception_score


def test_inception_score_agrees_with_torchmetrics() -> None:
    logits = torch.randn(400, 7, generator=torch.Generator().manual_seed(0)) * 3

    class Identity(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    metric = InceptionScore(feature=Identity(), splits=1)
    metric.update(logits)
    assert inception_score(logits.numpy(), splits=1)[0] == pytest.approx(
        metric.compute()[0].item(), rel=1e-5
    )


def test_inception_score_reaches_its_bounds() -> None:
    certain = np.tile(np.eye(5) * 1e4, (20, 1))
    assert inception_score(certain)[0] == pytest.approx(5.0)
    assert inception_score(np.tile(np.eye(5)[:4] * 1e4, (25, 1)))[0] == pytest.approx(4.0, rel=0.05)
    assert inception_score(np.zeros((100, 5)))[0] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="splits"):
        inception_score(np.zeros((9, 5)))
