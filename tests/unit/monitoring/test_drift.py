"""The verdict on new images, and word of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bngan.data import embedded
from bngan.metrics.drift import Drift, drift
from pipeline.core.errors import UserError
from pipeline.monitoring import alerts as alarm
from pipeline.monitoring.drift import _new_images
from pipeline.monitoring.schedule import AlarmConfig, DriftConfig, NewImages, Schedule
from tests.receiver import Receiver


def test_new_images_from_the_hub_are_called_by_their_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, commit, digits = list[tuple[str, float]](), "0" * 40, embedded.digits()
    monkeypatch.setattr("bngan.data.sources.load", lambda *w: asked.append(w) or (digits, commit))
    new = NewImages("hub:o/n@main", max_download_gb=3)
    reference: Any = SimpleNamespace(
        extractor=SimpleNamespace(info=SimpleNamespace(image_shape=(1, 8, 8))),
        protocol=SimpleNamespace(split="test", count=100),
    )
    about, _ = _new_images(Schedule("n", "m", "0 3 * * *", data=new), "hub:o/n@main", reference)
    assert (about["path"], about["count"]) == (f"hub:o/n@{commit}", 100)
    assert asked == [("hub:o/n@main", 3e9)]


def test_new_images_of_10_bits_are_scaled_like_the_old_ones(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1024, (30, 8, 8)).astype(np.uint16)
    for number, each in enumerate(values):
        Image.fromarray(each).save(tmp_path / f"{number}.png")
    reference: Any = SimpleNamespace(
        extractor=SimpleNamespace(info=SimpleNamespace(image_shape=(1, 8, 8))),
        protocol=SimpleNamespace(split="test", count=30),
    )
    schedule = Schedule("n", "m", "0 3 * * *", data=NewImages(white=1023))
    _, pixels = _new_images(schedule, str(tmp_path), reference)
    np.testing.assert_array_equal(np.sort(pixels.ravel()), np.sort(values.ravel() >> 2))


def classes(random: np.random.Generator, count: int, kinds: int = 10) -> np.ndarray:
    """Features of images of so many of 10 classes."""
    centres = np.random.default_rng(0).normal(0, 2, (10, 8))
    chosen = centres[random.integers(kinds, size=count)]
    return (chosen + random.normal(0, 1, (count, 8))).astype(np.float32)


def test_nothing_new_is_no_alarm() -> None:
    """At a level of 5 %: of 100 times 10 at most, which more would exceed in 1 of 100 suites."""
    random = np.random.default_rng(1)
    found = [drift(classes(random, 60), classes(random, 60), splits=39) for _ in range(100)]
    assert sum(each.p_value <= 0.05 for each in found) <= 10


def test_the_interval_and_the_expectation_of_nothing_new() -> None:
    random = np.random.default_rng(2)
    found = drift(classes(random, 300), classes(random, 300), splits=99)
    assert found.low < found.distance < found.high
    assert found.expected == pytest.approx(found.distance, rel=0.5)


def test_half_of_the_classes_gone_is_an_alarm() -> None:
    random = np.random.default_rng(3)
    found = drift(classes(random, 200), classes(random, 200, kinds=5), splits=199)
    assert found.p_value == 1 / 200
    assert found.beyond(0.01, DriftConfig().tolerance)
    assert found.low > 2 * found.expected


def test_what_is_significant_may_be_too_little_to_wake_anybody() -> None:
    found = Drift(1.5, 1.0, 2.0, np.full(199, 1.0), variance=10.0)
    assert found.beyond(0.01, tolerance=0.04)
    assert not found.beyond(0.01, tolerance=0.06)
    assert not Drift(1.5, 1.0, 2.0, np.full(19, 1.0), 10.0).beyond(0.01, tolerance=0.0)


def test_the_digits_that_the_default_is_made_for() -> None:
    """Of 350 images each, as tests/integration/test_schedule.py finds them."""
    gone = Drift(686.0, 517.0, 856.0, np.full(199, 57.0), variance=3829.0)
    same = Drift(33.0, -8.0, 75.0, np.full(199, 61.0), variance=3829.0)
    default = DriftConfig()
    assert gone.beyond(default.level, default.tolerance)
    assert not same.beyond(default.level, default.tolerance)


@pytest.mark.parametrize("count", [500, 20000])
@pytest.mark.parametrize(("share", "alarm"), [(0.02, False), (0.2, True)])
def test_a_shift_has_one_verdict_however_many_images_tell_it(
    count: int, share: float, alarm: bool
) -> None:
    """The distance of these Gaussians is ``share`` of their total variance."""
    random = np.random.default_rng(4)
    old, new = random.normal(0, 1, (2, count, 8))
    found = drift(old, new + np.sqrt(share))
    assert found.p_value <= 0.01
    assert found.beyond(0.01, DriftConfig().tolerance) == alarm
    assert found.excess / found.variance == pytest.approx(share, rel=0.3, abs=0.02)


def test_as_many_of_either() -> None:
    with pytest.raises(ValueError, match="as many old images as new ones"):
        drift(np.zeros((30, 2)), np.zeros((31, 2)))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()


def test_a_webhook_is_told_and_its_secrets_are_not(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm, "_PAUSE_S", 0.0)
    config = AlarmConfig(webhook=f"http://me:pass%20word@{receiver.host}/hook?token=secret")
    receiver.codes = [500, 500]
    told = alarm.tell(config, {"drift": "alarm"})
    assert told == [f"webhook at {receiver.host}"]
    headers, body = receiver.got[-1]
    assert (body, headers["path"], len(receiver.got)) == (
        {"drift": "alarm"},
        "/hook?token=secret",
        3,
    )
    assert headers["Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    receiver.codes = [500, 500, 500]
    with pytest.raises(UserError, match="3 times: it answers 500") as failed:
        alarm.tell(config, {})
    assert "secret" not in str(failed.value)
    receiver.server.shutdown()
    receiver.server.server_close()
    with pytest.raises(UserError, match="refused") as failed:
        alarm.tell(config, {})
    assert "word" not in str(failed.value)


def test_a_webhook_without_a_login_gets_none_from_a_password_file(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password word")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    alarm.tell(AlarmConfig(webhook=f"http://{receiver.host}/"), {})
    assert "Authorization" not in receiver.got[-1][0]
    alarm.tell(AlarmConfig(webhook=f"http://m%C3%A9@{receiver.host}/"), {})
    assert receiver.got[-1][0]["Authorization"] == "Basic bcOpOg=="


def test_a_try_that_fails_logs_no_secret(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(alarm, "_PAUSE_S", 0.0)
    receiver.server.shutdown()
    receiver.server.server_close()
    with pytest.raises(UserError, match="refused"):
        alarm.tell(AlarmConfig(webhook=f"http://{receiver.host}/hook?token=secret"), {})
    assert "secret" not in caplog.text


def test_a_redirect_is_not_followed(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm, "_PAUSE_S", 0.0)
    elsewhere = Receiver()
    receiver.codes, receiver.location = [301, 302, 307], f"http://{elsewhere.host}/login"
    with pytest.raises(UserError, match="3 times: it answers 307"):
        alarm.tell(AlarmConfig(webhook=f"http://me:word@{receiver.host}/hook"), {})
    assert (len(receiver.got), elsewhere.got) == (3, [])
    elsewhere.server.shutdown()


@pytest.mark.parametrize(
    "address", ["http://host/se cret", "http://host:1x/secret", "http://[::1]:1/"]
)
def test_an_address_that_cannot_be_is_one_line(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm, "_PAUSE_S", 0.0)
    with pytest.raises(
        UserError, match=r"^alarm.webhook at (host|host:1x|\[::1\]:1) could not"
    ) as told:
        alarm.tell(AlarmConfig(webhook=address), {})
    assert "cret" not in str(told.value)


def test_a_command_gets_it_on_standard_input(tmp_path: Path) -> None:
    alarm.tell(AlarmConfig(command=f"cat > {tmp_path}/told"), {"drift": "alarm"})
    assert json.loads((tmp_path / "told").read_text()) == {"drift": "alarm"}
    with pytest.raises(UserError, match="exit code 3"):
        alarm.tell(AlarmConfig(command="exit 3"), {})
    assert alarm.tell(AlarmConfig(), {}) == []


@pytest.mark.parametrize("size", [(24, 40), (40, 24)])
def test_new_images_get_the_models_height_and_width(size: tuple[int, int], tmp_path: Path) -> None:
    for number in range(30):
        Image.new("L", (60 + number, 30), number).save(tmp_path / f"{number}.png")
    reference: Any = SimpleNamespace(
        extractor=SimpleNamespace(info=SimpleNamespace(image_shape=(1, *size))),
        protocol=SimpleNamespace(split="test", count=30),
    )
    _, pixels = _new_images(Schedule("n", "m", "0 3 * * *"), str(tmp_path), reference)
    assert pixels.shape == (30, *size, 1)
    assert sorted(pixels[:, 0, 0, 0].tolist()) == list(range(30))
    padded = Schedule("n", "m", "0 3 * * *", data=NewImages(fit="pad"))
    _, pixels = _new_images(padded, str(tmp_path), reference)
    assert (pixels[:, 0] == 0).all()  # wider than the model's images
