"""The agreement of features with eyes: its numbers, and its sentence."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bngan.metrics.agreement import Agreement
from bngan.metrics.degradations import DEGRADATIONS, LEVELS
from bngan.metrics.features import Extractor, ExtractorInfo
from tests.unit.metrics.test_degradations import smooth


class Means(nn.Module):
    """Features that see the mean colour of an image alone."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        means = images.float().mean(dim=(2, 3))
        return means, means[:, :0]


class Pixels(nn.Module):
    """Features that see pixels and the energy of their differences."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values = images.float() / 255
        down, right = values.diff(dim=2), values.diff(dim=3)
        energy = [x.square().mean(dim=(1, 2, 3)).log1p()[:, None] for x in (down, right)]
        coarse = nn.functional.adaptive_avg_pool2d(values, 2).flatten(1)
        features = torch.cat([coarse, *energy], dim=1)
        return features, features[:, :0]


def extractor(network: nn.Module) -> Extractor:
    return Extractor(network, ExtractorInfo("random", (3, 16, 16), 3, 0))


def images(count: int = 400) -> np.ndarray:
    return smooth((count, 16, 16, 3))[np.random.default_rng(3).permutation(count)]


def test_features_that_see_colours_alone_are_named_as_blind_to_shapes() -> None:
    progress: list[tuple[int, int]] = []
    found = Agreement.of(extractor(Means()), images(), lambda *p: progress.append(p))
    assert found is not None
    assert found.auc["shuffled blocks"] < 0.9
    assert not found.sees_all
    assert found.describe().startswith(
        "These features hardly see that real images were degraded by "
    )
    assert "shuffled blocks (AUC 0." in found.describe()
    total = len(DEGRADATIONS) * len(LEVELS)
    assert progress == [(number, total) for number in range(1, total + 1)]


def test_features_that_see_pixels_see_more() -> None:
    blind, seeing = (Agreement.of(extractor(n), images()) for n in (Means(), Pixels()))
    assert blind is not None
    assert seeing is not None
    for name in ("blur", "coarse", "noise"):
        assert seeing.auc[name] == 1
    assert seeing.tau["blur"] == seeing.tau["noise"] == pytest.approx(1)
    assert np.mean(list(seeing.auc.values())) > np.mean(list(blind.auc.values()))


def test_few_images_tell_nothing() -> None:
    assert Agreement.of(extractor(Means()), images(39)) is None
    assert Agreement.of(extractor(Means()), images(40)) is not None


def test_what_is_stored_is_read_and_nothing_else() -> None:
    found = Agreement({"blur": 1.0}, {"blur": 0.5})
    assert Agreement.parse(json.loads(json.dumps(asdict(found)))) == found
    for other in (None, {}, {"auc": {}, "tau": {}}, {"auc": {"a": 1.0}, "tau": {"b": 1.0}}):
        with pytest.raises(ValueError, match="no agreement"):
            Agreement.parse(other)
    with pytest.raises(ValueError, match="no agreement"):
        Agreement.parse({"auc": {"blur": "<b>"}, "tau": {"blur": 1.0}})


def test_all_seen_is_one_sentence() -> None:
    found = Agreement({"blur": 1.0, "noise": 0.97}, {"blur": 1.0, "noise": 0.6})
    assert found.sees_all
    assert found.describe() == (
        "These features see each of 2 degradations of real images, noise the least (AUC 0.97); they "
        "order strengths with Kendall's tau 0.80"
    )
