"""What a training tells Prometheus, as it would be without Ray."""

import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ray.util import metrics

from pipeline.storage.checkpoints import Checkpoints
from pipeline.storage.workspace import Workspace
from pipeline.tracking import prometheus as gauges
from pipeline.tracking.prometheus import GAUGES, PREFIX, TAGS, Gauges, watched
from tests.waiting import until


class Shown:
    """In the place of Ray's gauges; a subclass for each test, for whose end no thread waits."""

    values: ClassVar[dict[str, list[float]]]
    tags: ClassVar[dict[str, str]]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert tag_keys == TAGS
        assert description
        self.name = name.removeprefix(PREFIX)

    def set_default_tags(self, tags: dict[str, str]) -> "Shown":
        type(self).tags = tags
        return self

    def set(self, value: float) -> None:
        self.values.setdefault(self.name, []).append(value)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> type[Shown]:
    own = type("Shown", (Shown,), {"values": {}, "tags": {}})
    monkeypatch.setattr(metrics, "Gauge", own)
    monkeypatch.setattr(gauges, "_REPEAT_EVERY_S", 0.01)
    return own


def test_records_are_told_and_shown(shown: type[Shown]) -> None:
    told: list[Any] = []
    tell = Gauges("digits", "training/digits-1").telling(told.append)
    record = {"images": 10, "loss_d": 1.5, "running_distance/1": 0.1, "running_distance/2": 0.3}
    other = [{"message": "back", "images": 5}, {"gave_up": "why"}]
    records = [{**record, "unheard_of": 1.0, "pictures": {"a": b""}}, *other]
    for each in records:
        tell(each)
    assert told == records
    assert {k: v[0] for k, v in shown.values.items()} == {
        "images": 10,
        "loss_d": 1.5,
        "running_distance": 0.3,
    }
    assert shown.tags == {"experiment": "digits", "training": "digits-1"}


def test_values_are_shown_again_until_the_process_ends(shown: type[Shown]) -> None:
    Gauges("digits", "digits-1").set({"workers": 2})
    until(lambda: len(shown.values["workers"]) > 2)


def test_checkpoints_tell_when_and_how_long(shown: type[Shown], tmp_path: Path) -> None:
    before = time.time()
    store = Checkpoints(Workspace.parse(str(tmp_path)), "training/x")
    store.on_saved = Gauges("x", "x").saved
    store.save(10, {"a": 1}, healthy=True)
    assert shown.values["checkpoint_timestamp_seconds"][0] >= before
    assert 0 < shown.values["checkpoint_seconds"][0] < 60
    assert store.saved() == [10]


def test_without_a_cluster_nothing_happens() -> None:
    Gauges("digits", "digits-1").set(dict.fromkeys(GAUGES, 1.0))


def test_a_training_is_there_before_its_first_record(shown: type[Shown], tmp_path: Path) -> None:
    settings = {"training": "training/x", "experiment": "x", "train": {"images": 100}}
    store = Checkpoints(Workspace.parse(str(tmp_path)), "training/x")
    watched(settings, store, lambda _: None)
    assert shown.values["images"][0] == 0
    assert time.time() - shown.values["worker_start_timestamp_seconds"][0] < 60
    store.save(10, {"a": 1}, healthy=True)
    shown.values.clear()
    watched(settings, store, lambda _: None)
    assert 10 in shown.values["images"]
