"""Layers that network families share."""

import pytest
import torch
import torch.nn.functional as F

from bngan.networks.blocks import AveragePool


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (5, 4), (4, 7), (1, 5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pooling_averages_the_pixels_that_exist(
    size: tuple[int, int], layout: torch.memory_format
) -> None:
    maps = torch.randn(4, 6, *size, dtype=torch.float64).contiguous(memory_format=layout)
    ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    expected = F.avg_pool2d(theirs, 2, ceil_mode=True)
    pooled = AveragePool()(ours)
    assert pooled.is_contiguous(memory_format=layout)
    torch.testing.assert_close(pooled, expected)
    weights = torch.randn_like(expected)
    (pooled.tanh() * weights).sum().backward()
    (expected.tanh() * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
