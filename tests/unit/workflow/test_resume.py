"""When a training is over, and what cannot be asked of it any more."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config.schema import Config, DataConfig, TrainConfig
from pipeline.core.errors import UserError
from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.tracking.tracker import Tracker
from pipeline.workflow.resume import check_provenance, refuse_rewind, stop_reason
from tests.ports import reserve_port


def state(*scores: float) -> dict[str, Any]:
    """Of a training that was scored every 100 images, and told of its losses in between."""
    history: list[dict[str, float]] = []
    for number, score in enumerate(scores, 1):
        images = 100.0 * number
        history += [{"images": images - 50}, {"images": images, "fid_select": score}]
    return {"trainer": {"images_seen": 100 * len(scores)}, "progress": {"history": history}}


def config(images: int, patience: int | None) -> Config:
    train = TrainConfig(images=images, patience=patience)
    return Config(name="x", data=DataConfig(path="embedded:digits"), train=train)


@pytest.mark.parametrize(
    ("scores", "images", "patience", "told"),
    [
        ((3, 2), 1000, None, None),
        ((3, 2), 200, None, "200 images seen"),
        ((3, 2, 4, 5), 1000, 2, "no better score in 2 after 400 images (train.patience)"),
        ((3, 2, 4, 5), 1000, 3, None),
    ],
)
def test_it_is_over_after_its_images_or_its_patience(
    scores: tuple[float, ...], images: int, patience: int | None, told: str | None
) -> None:
    found = state(*scores)
    refuse_rewind("here", found, config(images, patience))
    assert stop_reason(config(images, patience), found) == told


@pytest.mark.parametrize(
    ("images", "patience", "message"),
    [
        (100, None, "train.images: this training has seen 600 images already; to have it end"),
        (1000, 2, "train.patience: this training went on after 400 images, where 2 scores"),
    ],
)
def test_what_it_went_past_cannot_be_asked_of_it(
    images: int, patience: int | None, message: str
) -> None:
    """A fresh training with that patience would not have found the better score that came later."""
    with pytest.raises(UserError) as caught:
        refuse_rewind("here", state(3, 2, 4, 5, 1, 1), config(images, patience))
    assert str(caught.value).startswith(message)
    refuse_rewind("here", None, config(images, patience))


def test_a_training_whose_checkpoints_are_gone_says_that_it_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    told = list[str]()
    storage, name = Workspace(str(tmp_path)), "x-0123456789abcdef"
    context: Any = SimpleNamespace(
        storage=storage, input_digests={}, events=SimpleNamespace(message=told.append)
    )
    store = Checkpoints(storage, f"training/{name}")

    def begin() -> list[str]:
        told.clear()
        assert check_provenance(context, store, {}, begun=False)
        return told

    assert begin() == []  # without a store
    tracker = Tracker(tmp_path, "x")
    for training, status in ((name, "KILLED"), ("x-another", "FINISHED")):
        tracker.finish(tracker.start("train", {"stage": "train", "training": training}), status)
    assert begin() == []
    run_id = tracker.start("train", {"stage": "train", "training": name})
    tracker.finish(run_id, "FINISHED")
    message = f"starts anew: run {run_id[:8]} finished this training, and its checkpoints are gone"
    assert begin() == [message]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{reserve_port()}")
    assert begin() == []  # the server is away: the training begins all the same
