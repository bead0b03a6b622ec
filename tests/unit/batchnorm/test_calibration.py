import copy
import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bngan.batchnorm.calibration import calibrate, execution_order
from tests.workers import run_workers


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


class Sizes(nn.Module):
    """Batch norms of vectors, maps and tokens, made in another order than they are reached."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.tokens = nn.BatchNorm2d(1), nn.BatchNorm1d(1)
        self.maps = nn.Sequential(nn.BatchNorm2d(1), nn.Upsample(scale_factor=2), nn.BatchNorm2d(1))
        self.unused, self.first = nn.BatchNorm1d(8), nn.BatchNorm1d(8)

    def forward(self, latents: Tensor) -> Tensor:
        maps = self.maps(self.first(latents).view(-1, 1, 2, 4))
        tokens = self.tokens(maps.flatten(2))
        return self.last(tokens.view_as(maps)) + self.first(latents).sum()


def test_batch_norms_are_called_by_their_map_size_in_the_order_they_are_reached() -> None:
    network = Sizes().eval()
    found = execution_order(network, (torch.randn(3, 8),))
    assert list(found) == ["1x1", "2x4", "4x8", "32_tokens", "4x8_2"]
    norms = network.first, network.maps[0], network.maps[2], network.tokens, network.last
    assert list(found.values()) == list(norms)


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


CENTRES = torch.tensor(
    [[math.cos(angle * math.pi / 4), math.sin(angle * math.pi / 4)] for angle in range(8)]
)
SPREAD = 0.02


def modes_and_share(points: Tensor) -> tuple[int, float]:
    """Modes of the ring hit, and share of points within three standard deviations of one."""
    distance, mode = torch.cdist(points, CENTRES).min(dim=1)
    good = distance < 3 * SPREAD
    return len(mode[good].unique()), good.double().mean().item()


def train_on_the_ring(steps: int) -> Iterator[nn.Module]:
    """Eight Gaussians on a circle; batch norm after ReLU. Yields the generator as training goes on."""
    torch.manual_seed(0)
    hidden = [[nn.Linear(n, 128), nn.ReLU(), nn.BatchNorm1d(128)] for n in (2, 128)]
    network = nn.Sequential(*hidden[0], *hidden[1], nn.Linear(128, 2))
    judge = nn.Sequential(
        *(nn.Linear(2, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128), nn.LeakyReLU(0.2)),
        nn.Linear(128, 1),
    )
    optimizers = [
        torch.optim.Adam(part.parameters(), 1e-3, (0.5, 0.999)) for part in (judge, network)
    ]
    for step in range(1, steps + 1):
        real = CENTRES[torch.randint(8, (128,))] + SPREAD * torch.randn(128, 2)
        fake = network(torch.randn(128, 2))
        for optimizer in optimizers:
            optimizer.zero_grad()
        (F.softplus(-judge(real)).mean() + F.softplus(judge(fake.detach())).mean()).backward()
        optimizers[0].step()
        F.softplus(-judge(fake)).mean().backward()
        optimizers[1].step()
        if step >= steps // 2 and step % 500 == 0:
            yield network


@pytest.mark.slow
def test_calibration_rescues_modes_that_running_statistics_lose() -> None:
    random = torch.Generator().manual_seed(9)
    points, population = (torch.randn(10_000, 2, generator=random) for _ in range(2))
    lost, shares = [], []
    for network in train_on_the_ring(4000):
        with torch.no_grad():
            running, calibrated, infinite = (copy.deepcopy(network) for _ in range(3))
            calibrate(calibrated, lambda: [(part,) for part in population.split(500)])
            found = [
                modes_and_share(running.eval()(points)),
                modes_and_share(calibrated(points)),
                modes_and_share(infinite.train()(population)),
            ]
        lost.append(8 - found[0][0])
        shares.append([share for _, share in found])
        assert found[1][0] == found[2][0] == 8
        assert found[1][1] == pytest.approx(found[2][1], abs=0.05)
    assert max(lost) >= 1
    running_share, calibrated_share, _ = torch.tensor(shares).mean(dim=0)
    assert running_share < calibrated_share - 0.1
