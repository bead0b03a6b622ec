import copy

import pytest
import torch
from torch import nn

from bngan.batchnorm.layer import (
    SyncBatchNorm,
    batch_layout,
    desynchronize,
    group_sizes,
    running_statistics,
    synchronize,
)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5), (6, 3, 4, 4), (2, 3, 2, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_alone_it_is_torchs_batch_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours, theirs = (
        SyncBatchNorm(3),
        {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d},
    )
    reference = theirs[len(shape)](3)
    if dtype == torch.float64:
        ours, reference = ours.double(), reference.double()
    x = (torch.randn(shape) * 3 + 1).to(dtype)
    assert torch.equal(ours(x), reference(x))
    assert torch.equal(ours.eval()(x), reference.eval()(x))
    for key, value in reference.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3, 4, 5, 6)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2D to 5D"):
        SyncBatchNorm(3)(torch.zeros(shape))


def test_groups_are_torchs_batch_norm_one_after_the_other() -> None:
    torch.manual_seed(0)
    ours, theirs, x = SyncBatchNorm(3), nn.BatchNorm1d(3), torch.randn(10, 3)
    with batch_layout([4, 0, 4, 2]):
        output = ours(x)
    assert torch.equal(output, torch.cat([theirs(part) for part in x.split(4)]))
    assert torch.equal(ours.running_var, theirs.running_var)
    with batch_layout([4, 6], track=False):
        ours(x)
    assert torch.equal(ours.running_var, theirs.running_var)


def test_a_layout_has_to_cover_the_batch() -> None:
    with batch_layout([4, 4]), pytest.raises(ValueError, match="does not cover a batch of 6"):
        SyncBatchNorm(3)(torch.zeros(6, 3))


def test_group_sizes_count_this_workers_part_of_every_group() -> None:
    assert group_sizes(range(3, 9), 12, 4) == [1, 4, 1]
    assert group_sizes(range(0, 12), 12, "global") == [12]
    assert group_sizes(range(5, 5), 12, 6) == [0, 0]
    with pytest.raises(ValueError, match="whole groups of 5"):
        group_sizes(range(12), 12, 5)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Sequential(nn.BatchNorm2d(4, momentum=None))
    )


def test_synchronize_swaps_every_norm_and_shares_its_tensors() -> None:
    before = network()
    parameters, keys = list(before.parameters()), list(before.state_dict())
    assert synchronize(before) is before
    assert [type(m) for m in before.modules()].count(SyncBatchNorm) == 2
    assert list(before.state_dict()) == keys
    assert all(a is b for a, b in zip(before.parameters(), parameters, strict=True))


def test_a_norm_used_twice_is_one_norm_afterwards() -> None:
    norm = nn.BatchNorm1d(3)
    network = synchronize(nn.Sequential(norm, nn.ReLU(), norm))
    assert isinstance(network[0], SyncBatchNorm)
    assert network[0] is network[2]


def test_desynchronize_gives_the_plain_network_back() -> None:
    plain = network().eval()
    back = desynchronize(copy.deepcopy(synchronize(copy.deepcopy(plain))))
    assert str(back) == str(plain)
    assert not back[1].training
    assert all(torch.equal(a, b) for a, b in zip(back.buffers(), plain.buffers(), strict=True))
    with pytest.raises(ValueError, match="not made by synchronize"):
        desynchronize(nn.Sequential(SyncBatchNorm(3)))


def test_running_statistics_are_the_layers_own_tensors_or_an_error() -> None:
    norm = nn.BatchNorm1d(3)
    mean, variance, batches = running_statistics(norm)
    assert (mean is norm.running_mean, variance is norm.running_var) == (True, True)
    assert batches is norm.num_batches_tracked
    with pytest.raises(ValueError, match=r"BatchNorm1d\(3.*keeps no running statistics"):
        running_statistics(nn.BatchNorm1d(3, track_running_stats=False))
