"""A supervised adaptation on several workers, and one that is killed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import ProcessExitedException

from bngan.distributed.replicas import assert_replicas_equal
from bngan.generation.sampler import Sampler
from bngan.networks.config import ModelConfig
from bngan.training.supervised import SUPERVISION, SupervisedConfig
from pipeline.storage.artifacts import BASE_GENERATOR
from pipeline.training.factory import build_trainer
from tests.distributed.equality import State, _tensors, difference
from tests.distributed.loop import in_storage, outcome, run_loop
from tests.distributed.loop import prepare as prepare_loop
from tests.workers import run_workers


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A training of the loop's tests, with what it would begin with as its base."""
    folder = tmp_path_factory.mktemp("data")
    settings = prepare_loop(folder)
    start, data = build_trainer(settings, "cpu")
    (folder / BASE_GENERATOR).mkdir()
    model = ModelConfig.from_dict(settings["model"])
    Sampler(model, data.spec, start.ema.module.state_dict()).save(folder / BASE_GENERATOR)
    weights = {name: getattr(SupervisedConfig(), name) for name in SUPERVISION}
    settings["adapt"] = {"method": "supervised", **weights}
    settings["train"]["trainable"] = "affine"
    return settings


def exact(settings: dict[str, Any]) -> State:
    trainer, data = build_trainer(settings, "cpu", torch.float64)
    trainer.fit(data, 20 * trainer.config.batch_size)
    assert_replicas_equal(trainer.state_dict())
    return {key: value.clone() for key, value in _tensors(trainer.state_dict())}


@pytest.mark.parametrize(
    ("method", "batch", "workers"),
    [("supervised", 12, 2), ("supervised", 2, 3), ("adversarial", 12, 2)],
)
def test_several_workers_go_where_one_goes(
    method: str, batch: int, workers: int, settings: dict[str, Any]
) -> None:
    settings = copy.deepcopy(settings)
    settings["adapt"]["method"], settings["train"]["batch_size"] = method, batch
    alone = exact(settings)
    for state in run_workers(workers, exact, settings):  # of three, one has no image
        assert difference(alone, state) <= 1e-9


def test_killed_it_ends_bit_for_bit_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    run_workers(2, run_loop, in_storage(settings, tmp_path / "undisturbed"))
    killed = in_storage(settings, tmp_path / "killed")
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        run_workers(2, run_loop, killed, 333, 1)
    run_workers(2, run_loop, killed)
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "undisturbed")


def test_without_a_better_score_it_stops_and_with_more_patience_goes_on(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    def worse_and_worse(loop: Any) -> None:
        features = loop._features

        def drifting(sampler: Any) -> Any:
            found = features(sampler)
            return found._replace(features=found.features + loop.trainer.images_seen)

        loop._features = drifting

    def told(**train: Any) -> list[float]:
        pace = {"score_every": 60, **train}
        records = run_loop(in_storage(settings, tmp_path / "x", **pace), sabotage=worse_and_worse)
        return [record["images"] for record in records if "fid_select" in record]

    assert told(patience=2) == [60, 120, 180]
    assert told(patience=2) == []
    assert told(patience=4) == [240, 300]
    assert told(patience=None)[-1] == 600
