"""When a schedule is due, and what is refused."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.cli import jobs as commands
from pipeline.cluster import jobs
from pipeline.core.errors import UserError
from pipeline.monitoring.schedule import Schedule, due, latest, load_schedule

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
NIGHTLY = Path(__file__).parents[3] / "configs/schedules/nightly.yaml"


def schedule(cron: str = "0 3 * * *", timezone: str = "Europe/Berlin") -> Schedule:
    return Schedule(name="nightly", model="model", cron=cron, timezone=timezone)


@pytest.mark.parametrize(
    ("cron", "given", "expected"),
    [
        ("0 3 * * *", "2026-11-23", ["2026-11-23T03:00"]),
        ("0 3 * * *", "2026-11-23T03:00", ["2026-11-23T03:00"]),
        ("0 3 * * *", "2026-11-23..2026-11-30", ["2026-11-23T03:00", "2026-11-24T03:00"]),
        ("0 0,23 * * *", "2026-11-01", ["2026-11-01T00:00", "2026-11-01T23:00"]),
        # A Monday, and not the Tuesday that APScheduler takes 1 for.
        ("0 3 * * mon", "2026-11-16..2026-11-22", ["2026-11-16T03:00"]),
        # Clocks are put back: the hour comes twice, and is due once.
        ("30 2 * * *", "2026-10-25", ["2026-10-25T02:30"]),
        ("30 2,3 * * *", "2026-10-25", ["2026-10-25T02:30", "2026-10-25T03:30"]),
        # Clocks are put forward: the hour is left out, not the day.
        ("30 2 * * *", "2026-03-29", ["2026-03-29T02:30"]),
    ],
)
def test_what_is_due(cron: str, given: str, expected: list[str]) -> None:
    assert due(schedule(cron), given, NOW) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("2026-11-25", "has not been due then"),  # it is the 24th
        ("2026-11-24T04:00", "has not been due then"),
        ("2026-11-07..2026-11-01", "has not been due then"),
        ("9999-12-31", "has not been due then"),
        ("2026-11-25..9999-12-31", "has not been due then"),
        ("0001-01-01", "write 2026-11-24|has not been due then"),
        ("2026-11-24..2026-11-25xyz", "write 2026-11-24"),
        ("2026-11-24x", "write 2026-11-24"),
        ("2026-11-31", "write 2026-11-24"),
        ("yesterday", "write 2026-11-24, 2026-11-01..2026-11-07 or 2026-11-24T03:00"),
    ],
)
def test_what_was_not_due_is_refused(given: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        due(schedule(), given, NOW)


def test_what_was_due_last() -> None:
    # 12:30 UTC is 13:30 in Berlin.
    assert latest(schedule("30 13 * * *"), NOW) == "2026-11-24T13:30"
    assert latest(schedule("31 13 * * *"), NOW) == "2026-11-23T13:31"
    assert latest(schedule("0 3 29 2 *"), NOW) == "2024-02-29T03:00"


def write(tmp_path: Path, **values: str) -> Path:
    given = {"name": "nightly", "model": "model", "cron": "'0 3 * * *'", **values}
    (path := tmp_path / "s.yaml").write_text("".join(f"{k}: {v}\n" for k, v in given.items()))
    return path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cron": "'0 3 * * 1'"}, "counts weekdays: name them, mon to sun"),
        ({"cron": "'0 3 * * mon-5'"}, "counts weekdays"),
        ({"cron": "'0 3 13 * fri'"}, "gives a day of the month and a weekday"),
        ({"cron": "'0 3 * *'"}, "got 4, expected 5"),
        ({"cron": "'@daily'"}, "got 1, expected 5"),
        ({"cron": "'61 3 * * *'"}, "higher than the maximum value"),
        ({"cron": "'0 3 31 2 *'"}, "is never due"),
        ({"timezone": "Europa/Berlin"}, "there is no Europa/Berlin"),
        ({"timezone": "../UTC"}, "there is no ../UTC"),
        ({"name": "a/b"}, "name must begin with a letter or digit and consist of"),
        ({"model": "models:/m@champion"}, "model must be a name without"),
        ({"drift": "{level: 0.001}"}, "drift.level must lie in"),
        ({"drift": "{level: .nan}"}, "drift.level must lie in"),
        ({"drift": "{tolerance: -1}"}, "drift.tolerance must be finite and not negative"),
        ({"drift": "{tolerance: .inf}"}, "drift.tolerance must be finite"),
        ({"drift": "{levels: 1}"}, "did you mean drift.level"),
        ({"alarm": "{webhook: example.org}"}, "alarm.webhook must be an address"),
        ({"alarm": "{webhook: 'http:///secret'}"}, "alarm.webhook must have a host"),
        ({"alarm": "{webhook: 'http://host:99999/secret'}"}, "and a port up to 65535"),
        ({"alarm": "{webhook: 'http://host:x/secret'}"}, "and a port up to 65535"),
        ({"alarm": "{webhook: 'http://host:0/secret'}"}, "and no port 0"),
        ({"alarm": "{webhook: 'http://[::1/secret'}"}, "alarm.webhook must have a host"),
        ({"alarm": "{webhook: 'http://host/the secret'}"}, "alarm.webhook must have no spaces"),
        ({"alarm": '{webhook: "http://host/secret\\n"}'}, "alarm.webhook must have no spaces"),
        ({"data": "{path: 's3://user:secret@host/x'}"}, "data.path has a "),
        ({"data": "{path: 'hub:a/b@'}"}, "data.path: write hub:OWNER/NAME"),
        (
            {"data": "{max_download_gb: .nan}"},
            "data.max_download_gb must be finite and not negative",
        ),
        ({"address": "http://head:8265"}, "workspace=runs is relative"),
        (
            {"address": "http://head:8265", "workspace": "/shared", "data": "{path: images}"},
            "data.path=images is relative",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, values: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as told:
        load_schedule(write(tmp_path, **values))
    assert message in str(told.value)
    assert "secret" not in str(told.value)


def test_the_shipped_one_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_schedule(NIGHTLY).workspace == str(tmp_path / "runs")
    kept = load_schedule(write(tmp_path, data="{path: 'images/{date}/x'}"))
    assert kept.images_of("2026-11-24T03:00") == str(tmp_path / "images/2026-11-24/x")
    there = write(tmp_path, address="http://head:8265", workspace="/shared")
    assert load_schedule(there).address == "http://head:8265"
    assert load_schedule(there, here=True).address is None
    # In a job on a cluster the folder goes with the session.
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(UserError, match="workspace=runs is relative"):
        load_schedule(NIGHTLY)


def test_words_are_as_written(tmp_path: Path) -> None:
    values = {"name": "2024_11", "model": "1.10", "drift": "{tolerance: 1e3}", "workspace": "010"}
    found = load_schedule(write(tmp_path, **values, data="{image_column: on}"))
    assert (found.name, found.model, found.data.image_column) == ("2024_11", "1.10", "on")
    assert (Path(found.workspace).name, found.drift.tolerance) == ("010", 1000.0)
    with pytest.raises(UserError, match=r"drift\.tolerance: Value '010' of type 'str' could not"):
        load_schedule(write(tmp_path, **(values | {"drift": "{tolerance: 010}"})))


def test_a_job_is_of_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = list[str]()

    def submit(work: jobs.Work, _: str) -> jobs.Submission:
        names.append(work.name)
        return jobs.Submission(work.name, True)

    monkeypatch.setattr(jobs, "submit", submit)
    monkeypatch.setattr(jobs, "follow", lambda *_: 0)
    kept = schedule()
    assert commands._submit_partition(tmp_path, kept, "2026-11-24T03:00", "http://head:8265") == 0
    assert names == ["nightly-model-2026-11-24T0300"]
