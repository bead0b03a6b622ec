import copy

import pytest
import torch
from torch import Tensor, nn

from bngan.calibration import calibrate
from tests.conftest import run_workers


def generator() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8)
    )


class Branches(nn.Module):
    """A residual branch over tokens ``(N, C, L)``, with norms declared out of order."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.last, self.first = nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        self.skip, self.branch = nn.Conv1d(1, 6, 1), nn.Conv1d(6, 6, 1)

    def forward(self, latents: Tensor) -> Tensor:
        tokens = self.skip(latents[:, None])
        return self.last(tokens + self.branch(self.first(tokens).relu()))


def latents(count: int) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("build", [generator, Branches])
def test_calibration_gives_what_one_batch_of_everything_gives(build) -> None:
    calibrated, infinite = build(), build()
    whole = latents(1000)
    calibrate(calibrated, lambda: [(part,) for part in whole.split(25)])
    # In training mode on the whole population, batch statistics are the population's.
    torch.testing.assert_close(calibrated(whole), infinite(whole), rtol=2e-3, atol=2e-3)
    averaged = copy.deepcopy(infinite)
    for module in averaged.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for batch in whole.split(4):
            averaged.train()(batch)
    ours = (calibrated(whole) - infinite.train()(whole)).square().mean()
    standing = (averaged.eval()(whole) - infinite(whole)).square().mean()
    assert ours < standing / 10


def statistics(network: nn.Module, size: int, backwards: bool) -> dict[str, Tensor]:
    whole = latents(1000)
    workers, rank = 1, 0
    if torch.distributed.is_initialized():
        workers, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    parts = [(part[rank::workers],) for part in whole.split(size)]
    calibrate(network, lambda: parts[::-1] if backwards else parts)
    return network.state_dict()


@pytest.mark.parametrize("build", [generator, Branches])
def test_order_size_and_workers_do_not_matter(build) -> None:
    expected = statistics(build(), 1000, False)
    others = [
        statistics(build(), 77, True),
        *run_workers(3, statistics, build(), 250, True),
        # A worker whose share of every batch is empty
        *run_workers(2, statistics, build(), 1, False),
    ]
    for other in others:
        for key, value in expected.items():
            scale = value.double().abs().max().item()
            torch.testing.assert_close(other[key], value, rtol=1e-6, atol=1e-6 * scale)


def test_calibration_leaves_weights_alone_and_ends_in_evaluation_mode() -> None:
    network = generator()
    before = copy.deepcopy(dict(network.named_parameters()))
    calibrate(network, lambda: [(latents(20),)])
    assert not network.training
    assert all(torch.equal(before[name], p) for name, p in network.named_parameters())


def test_spectral_vectors_are_frozen() -> None:
    torch.manual_seed(0)
    linear = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8))
    network = nn.Sequential(linear, nn.BatchNorm1d(8))
    before = {k: v.clone() for k, v in linear.state_dict().items()}
    calibrate(network, lambda: [(latents(20),)] * 3)
    assert all(torch.equal(before[key], value) for key, value in linear.state_dict().items())
