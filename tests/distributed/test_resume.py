"""Resume is resume: killed at any moment, training ends as if it had not been."""

import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch.multiprocessing.spawn import ProcessExitedException

from bngan.batchnorm.layer import SyncBatchNorm
from bngan.data.dataset import ImageSplit
from bngan.serialization.checkpoint import CheckpointStore, load_checkpoint, save_checkpoint
from bngan.training.trainer import Trainer
from pipeline.core.lock import OWNER
from pipeline.training.loop import TrainingAborted, TrainingLoop
from tests.distributed.equality import CASES, difference, prepare, train
from tests.distributed.loop import checkpoints, in_storage, outcome, run_loop
from tests.distributed.loop import prepare as prepare_loop
from tests.unit.networks.golden import with_old_keys
from tests.workers import run_workers


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return prepare_loop(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_killed_in_mid_epoch_it_ends_bit_for_bit_the_same(
    workers: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    undisturbed = in_storage(settings, tmp_path / "undisturbed")
    run_workers(workers, run_loop, undisturbed)
    killed = in_storage(settings, tmp_path / "killed")
    for moment in (130, 333):
        with pytest.raises(ProcessExitedException, match="SIGKILL"):
            run_workers(workers, run_loop, killed, moment, workers - 1)
        last = CheckpointStore(tmp_path / "killed").saved()[-1]
        assert moment - 24 < last <= moment
    run_workers(workers, run_loop, killed)
    ours, theirs = outcome(tmp_path / "killed"), outcome(tmp_path / "undisturbed")
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert ours[1][-1]["images"] == 600


def test_a_longer_budget_goes_the_same_way(settings: dict[str, Any], tmp_path: Path) -> None:
    run_loop(in_storage(settings, tmp_path / "once"))
    run_loop(in_storage(settings, tmp_path / "twice", images=240))
    run_loop(in_storage(settings, tmp_path / "twice"))
    assert outcome(tmp_path / "twice")[0] == outcome(tmp_path / "once")[0]


def test_a_training_whose_checkpoint_has_old_keys_goes_the_same_way(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """Earlier code called weights by position, those of the best score too."""
    case, store = "dcgan of the training loop's tests", CheckpointStore(tmp_path / "old")
    run_loop(in_storage(settings, tmp_path / "once"))
    run_loop(in_storage(settings, tmp_path / "old", images=240))
    state = store.latest()
    assert state is not None
    parts = {"generator": "generator", "ema": "generator", "discriminator": "discriminator"}
    for name, part in parts.items():
        state["trainer"][name] = with_old_keys(state["trainer"][name], case, part)
    state["best"]["ema"] = with_old_keys(state["best"]["ema"], case, "generator")
    store.save(240, state, healthy=True, keep=1)
    with mock.patch("pipeline.training.loop.point_scores", return_value={"fid": math.inf}):
        run_loop(in_storage(settings, tmp_path / "old", images=252))
    continued = store.latest()
    assert continued is not None
    assert continued["best"]["images"] == state["best"]["images"]
    assert continued["best"]["ema"].keys() == continued["trainer"]["ema"].keys()
    run_loop(in_storage(settings, tmp_path / "old"))
    assert outcome(tmp_path / "old")[0] == outcome(tmp_path / "once")[0]


def continue_on(folder: Path, steps: int) -> dict[str, torch.Tensor]:
    return train(folder, "mlp", torch.float64, steps, folder / "middle")[0]


def half_way(folder: Path) -> None:
    case, data = CASES["mlp"], ImageSplit.load(folder, "train")
    trainer = Trainer(case.model, case.optimization, data.spec, seed=3, dtype=torch.float64)
    trainer.fit(data, 25 * case.optimization.batch_size)
    if torch.distributed.get_rank() == 0:
        save_checkpoint(folder / "middle", trainer.state_dict())


def test_two_workers_can_be_followed_by_three(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    run_workers(2, half_way, folder)
    expected, _ = train(folder, "mlp", torch.float64, 50)
    for state in run_workers(3, continue_on, folder, 25):
        assert difference(state, expected) <= 1e-9


def test_a_damaged_checkpoint_costs_no_more_than_itself(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    run_workers(2, run_loop, in_storage(settings, tmp_path / "undisturbed"))
    damaged = in_storage(settings, tmp_path / "damaged", images=400)
    run_workers(2, run_loop, damaged)
    store = CheckpointStore(tmp_path / "damaged")
    (store.path(store.saved()[-1]) / "state.safetensors").write_bytes(b"")
    told, _ = run_workers(2, run_loop, damaged | {"train": settings["train"]})
    assert "is damaged and set aside as damaged-0-images-" in told[0]["message"]
    assert next(r["images"] for r in told if "images" in r) > 350
    assert outcome(tmp_path / "damaged") == outcome(tmp_path / "undisturbed")


def spoil(loop: TrainingLoop) -> None:
    """The second worker's fakes go wrong once, in the middle of training."""
    spoilt = []

    def hook(module: Any, inputs: Any, output: Any) -> Any:
        wrong = loop.trainer.images_seen == 300 and loop.trainer.rollbacks == 0
        if wrong and torch.distributed.get_rank() == 1:
            spoilt.append(1)
            return output * float("inf")
        return output

    loop.trainer.generator.register_forward_hook(hook)


def always_spoil(loop: TrainingLoop) -> None:
    loop.trainer.generator.register_forward_hook(
        lambda module, inputs, output: output * float("nan")
    )


def roll_back(settings: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    told = run_loop(settings, sabotage=spoil)
    state = checkpoints(settings).latest()
    assert state is not None
    return told, state


def test_numbers_that_are_not_finite_on_one_worker_take_all_back_together(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    run_workers(2, run_loop, in_storage(settings, tmp_path / "x", images=240))
    rarely = in_storage(settings, tmp_path / "x", checkpoint_every_seconds=1e9)
    (told, state), (silent, _) = run_workers(2, roll_back, rarely)
    (event,) = [record["message"] for record in told if "message" in record]
    assert event == "gradients of the discriminator are not finite at 300 images: back to 240"
    images = [record["images"] for record in state["progress"]["history"]]
    assert images == sorted(set(images))
    assert silent == []
    assert state["trainer"]["images_seen"] == 600
    assert state["trainer"]["rollbacks"] == 1
    assert [r["rollbacks"] for r in state["progress"]["history"]][-1] == 1
    # Who is killed after a rollback goes on with the same new noise.
    run_loop(in_storage(settings, tmp_path / "x", images=720))
    assert load_checkpoint(tmp_path / "x" / "images-000000000720")["trainer"]["rollbacks"] == 1


def overflow(loop: TrainingLoop) -> None:
    """A running variance overflows once, which no gradient tells."""

    def hook(*_: Any) -> None:
        if loop.trainer.images_seen == 300 and loop.trainer.rollbacks == 0:
            norm = next(m for m in loop.trainer.generator.modules() if isinstance(m, SyncBatchNorm))
            assert norm.running_var is not None
            norm.running_var.fill_(float("inf"))

    loop.trainer.optimizer_g.register_step_post_hook(hook)


def test_spoilt_statistics_are_noticed_before_they_are_saved(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    told = run_loop(in_storage(settings, tmp_path / "x"), sabotage=overflow)
    (event,) = [record["message"] for record in told if "message" in record]
    assert event.endswith("running_var is not finite at 324 images: back to 300")


def diverge(settings: dict[str, Any]) -> str:
    try:
        run_loop(settings, sabotage=always_spoil)
    except TrainingAborted as error:
        return str(error)
    return ""


def test_it_gives_up_after_as_many_rollbacks_as_allowed(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    for message in run_workers(2, diverge, in_storage(settings, tmp_path / "x")):
        assert message.endswith("not finite at 0 images after 2 rollbacks")
    assert CheckpointStore(tmp_path / "x").saved() == []
    assert diverge(in_storage(settings, tmp_path / "y", on_nonfinite="stop")).endswith("0 images")


def collapse(loop: TrainingLoop) -> None:
    """At the second score generated images look like nothing real, the first time."""
    features = loop._features

    def strange(sampler: Any) -> Any:
        found = features(sampler)
        wrong = 300 < loop.trainer.images_seen < 500 and loop.trainer.rollbacks == 0
        return found._replace(features=found.features + 1e3) if wrong else found

    loop._features = strange  # type: ignore[method-assign]


def collapse_at_400(settings: dict[str, Any]) -> tuple[list[str], Any]:
    try:
        told = run_loop(settings, sabotage=collapse)
    except TrainingAborted as error:
        told = [{"message": str(error)}]
    state = checkpoints(settings).latest()
    assert state is not None
    return [record["message"] for record in told if "message" in record], state


def test_a_collapse_is_told_stopped_or_undone(settings: dict[str, Any], tmp_path: Path) -> None:
    outcomes = {
        policy: run_workers(2, collapse_at_400, in_storage(settings, tmp_path / policy, **train))[0]
        for policy in ("warn", "stop", "rollback")
        for train in [{"on_collapse": policy}]
    }
    (warned,), warned_state = outcomes["warn"]
    assert warned.startswith("at 408 images this looks like a collapse: FID ")
    assert warned_state["trainer"]["images_seen"] == 600
    (stopped,), stopped_state = outcomes["stop"]
    assert stopped.startswith("FID ")
    assert stopped.endswith(" at 408 images; train.on_collapse=warn would go on")
    assert stopped_state["trainer"]["images_seen"] < 408
    (undone,), state = outcomes["rollback"]
    assert undone.endswith(" at 408 images: back to 204")
    assert state["trainer"]["images_seen"] == 600
    assert state["trainer"]["rollbacks"] == 1
    images = [record["images"] for record in state["progress"]["history"]]
    assert images == sorted(set(images))
    assert max(r.get("fid_select", 0) for r in state["progress"]["history"]) < 1e6


def test_with_no_rollback_left_it_goes_on_and_keeps_its_best(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    spent = in_storage(settings, tmp_path / "x", on_collapse="rollback", max_rollbacks=0)
    (message,), state = collapse_at_400(spent)
    assert message.endswith("no rollback of 0 is left, training goes on")
    assert state["trainer"]["images_seen"] == 600
    assert state["best"]["fid"] < 1e6


def test_a_collapse_that_was_put_up_with_is_undone_once_it_is_not(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    begun = in_storage(settings, tmp_path / "x", images=408)
    (message,), _ = collapse_at_400(begun)
    assert message.startswith("at 408 images")
    collapsed = in_storage(settings, tmp_path / "x", on_collapse="rollback", score_every=12)
    told = run_loop(collapsed, sabotage=collapse)
    assert next(r["message"] for r in told if "message" in r).endswith(": back to 204")


def test_one_that_is_killed_after_going_back_does_not_go_on_from_what_collapsed(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    chosen = in_storage(settings, tmp_path / "x", on_collapse="rollback")
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        run_workers(1, collapse_and_die, chosen)
    state = CheckpointStore(tmp_path / "x").latest()
    assert state is not None
    assert (state["trainer"]["images_seen"], state["trainer"]["rollbacks"]) == (204, 0)


def collapse_and_die(settings: dict[str, Any]) -> None:
    def sabotage(loop: TrainingLoop) -> None:
        collapse(loop)
        back = loop.trainer.roll_back

        def die(state: Any) -> None:
            back(state)
            os.kill(os.getpid(), signal.SIGKILL)

        loop.trainer.roll_back = die  # type: ignore[method-assign]

    run_loop(settings, sabotage=sabotage)


def test_a_run_that_lost_its_training_to_another_writes_nothing_more(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    mine = in_storage(settings, tmp_path / "x")
    (tmp_path / "x" / OWNER).write_text('{"attempt": "somebody else"}')
    with pytest.raises(Exception, match="another run has taken over"):
        run_loop(mine)
    assert CheckpointStore(tmp_path / "x").saved() == []
    shutil.rmtree(tmp_path / "x")
