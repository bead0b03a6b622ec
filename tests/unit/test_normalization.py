import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bngan.normalization import BatchNorm, calibrate, synchronize


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5), (6, 3, 4, 4), (2, 3, 2, 2, 2)])
def test_alone_it_is_torchs_batch_norm(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours, theirs = (
        BatchNorm(3),
        {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d},
    )
    reference = theirs[len(shape)](3)
    x = torch.randn(shape) * 3 + 1
    assert torch.equal(ours(x), reference(x))
    assert torch.equal(ours.eval()(x), reference.eval()(x))
    for key, value in reference.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3, 4, 5, 6)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2D to 5D"):
        BatchNorm(3)(torch.zeros(shape))


def test_synchronize_swaps_every_norm_and_shares_its_tensors() -> None:
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Sequential(nn.BatchNorm2d(4)))
    parameters, keys = list(network.parameters()), list(network.state_dict())
    assert synchronize(network) is network
    assert [type(m) for m in network.modules()].count(BatchNorm) == 2
    assert list(network.state_dict()) == keys
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))


def generator() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8)
    )


def latents(batches: int, size: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(2)
    whole = torch.randn(batches * size, 4, generator=random)
    return list(whole.split(size))


def test_calibration_gives_what_one_batch_of_everything_gives() -> None:
    calibrated, infinite = generator(), generator()
    batches = latents(40, 25)
    calibrate(calibrated, lambda: iter(batches))
    whole = torch.cat(batches)
    # In training mode on the whole population, batch statistics are the population's.
    torch.testing.assert_close(calibrated(whole), infinite(whole), rtol=1e-2, atol=5e-3)
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


def test_calibration_does_not_depend_on_how_latents_are_batched() -> None:
    one, other = generator(), generator()
    whole = torch.cat(latents(1, 1000))
    calibrate(one, lambda: iter(whole.split(1000)))

    def shuffled() -> Iterator[Tensor]:
        return iter(reversed(whole.split(77)))

    calibrate(other, shuffled)
    for key, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=1e-6, atol=1e-7)


def test_calibration_leaves_weights_alone_and_ends_in_evaluation_mode() -> None:
    network = generator()
    before = copy.deepcopy(dict(network.named_parameters()))
    calibrate(network, lambda: iter(latents(2, 10)))
    assert not network.training
    assert all(torch.equal(before[name], p) for name, p in network.named_parameters())
