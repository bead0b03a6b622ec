"""The schema of a scheduled evaluation, and its due times.

A *partition* identifies one evaluation: it is the due minute on the clock of the schedule's time
zone (``2026-11-24T03:00``). An hour that a clock shows twice is due once.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger
from omegaconf import MISSING

from bngan.data.sources import is_symbolic
from bngan.serialization.bounds import bounded, out_of_bounds
from bngan.serialization.problem import Problem
from pipeline.config.loader import located_workspace
from pipeline.config.parser import flatten, read
from pipeline.config.validation import not_on_all_nodes, source, split_errors
from pipeline.core.errors import UserError
from pipeline.core.names import model_name_errors, name_errors
from pipeline.core.uris import secrets

_DATE = "{date}"
_GIVEN = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d)|(T\d\d:\d\d))?", re.ASCII)
_FINITE = "{key} must be finite and not negative, got {value}"
_LONGEST_GAP = timedelta(days=8 * 366)
"""Longest time between two due times of a cron expression: 29 February can be 8 years away."""


@dataclass
class NewImages:
    """New real images, to compare with the real images of the champion's scores."""

    path: str | None = None
    """Path or name, like data.path of an experiment; ``{date}`` stands for the date. null compares
    no data. Do not use images that the extractor was trained on: their features differ."""
    image_column: str | None = None
    """Column of the images in tables; null takes the first image column."""
    splits: dict[str, str] | None = None
    """Meaning of names of folders, tables or splits; use data.splits of the model's experiment."""
    class_level: int | None = bounded(None, ge=0)
    """Level of the class folders; use data.class_level of the model's experiment."""
    max_download_gb: float = bounded(20.0, ge=0, message=_FINITE)
    """Most gigabytes (10^9 bytes) to download from the Hub at a time."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """Way to resize an image of another size than the model's; use data.fit of its experiment."""
    white: int | None = bounded(None, ge=1, le=65535)
    """Value that is white in images of 9 to 16 bits; use data.white of the model's experiment."""


@dataclass
class DriftConfig:
    """Limits above which new images count as drifted."""

    level: float = bounded(0.01, ge=0.005, lt=1)
    """Largest p-value of an alarm: the share of false alarms if nothing has changed."""
    tolerance: float = bounded(0.05, ge=0, message=_FINITE)
    """Share of the old features' total variance by which the distance must exceed chance. With many
    images even harmless differences are significant; this limit does not depend on their number.
    On the digits, one missing class gives 0.03, two of ten give 0.06, half of them give 0.16."""


@dataclass
class AlarmConfig:
    """Receivers of an alarm, which is JSON."""

    webhook: str | None = None
    """Address that gets the alarm by POST; messages show only its host."""
    command: str | None = None
    """Shell command that gets the alarm on standard input."""


@dataclass
class Schedule:
    """A recurring evaluation of a registered model's champion."""

    name: str = MISSING
    """Name of the experiment in MLflow that has the schedule's runs."""
    model: str = MISSING
    """Name of the registered model."""
    cron: str = MISSING
    """Minute, hour, day of month, month and weekday (mon to sun)."""
    timezone: str = "UTC"
    """Time zone, such as Europe/Berlin."""
    workspace: str = "runs"
    """Folder for downloads and locks, and for the registry unless MLFLOW_TRACKING_URI is set."""
    address: str | None = None
    """Address of the Ray dashboard of the cluster that evaluates; null: this machine evaluates."""
    data: NewImages = field(default_factory=NewImages)
    drift: DriftConfig = field(default_factory=DriftConfig)
    alarm: AlarmConfig = field(default_factory=AlarmConfig)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone as an object."""
        return ZoneInfo(self.timezone)

    @property
    def trigger(self) -> CronTrigger:
        """The due times, as a trigger of APScheduler."""
        return CronTrigger.from_crontab(self.cron, timezone=self.zone)

    def images_of(self, partition: str) -> str | None:
        """Return the path of a partition's new images; None or empty if there is none."""
        return self.data.path and self.data.path.replace(_DATE, partition[:10])


def load_schedule(path: Path, here: bool = False) -> Schedule:
    """Read a schedule's YAML file; if this machine evaluates, make every path absolute.

    ``here`` makes this machine evaluate even if the file names a cluster.

    Raises:
        UserError: with a problem for each key that is unknown, missing or has a wrong value.
    """
    given = read(Schedule, path)
    schedule = given.values
    wrong = list(_errors(schedule))
    if here:
        schedule.address = None
    if schedule.address is None:
        wrong += located_workspace(schedule)
        where = schedule.data.path
        if where and not is_symbolic(where):
            schedule.data.path = str(Path(where).expanduser().absolute())
    given.raise_if_invalid(wrong)
    return schedule


def due(schedule: Schedule, given: str, now: datetime) -> list[str]:
    """Return the partitions up to ``now`` that ``given`` selects, oldest first.

    Args:
        schedule: has the due times.
        given: a date, ``FIRST..LAST``, or one partition.
        now: the present time, with a time zone.

    Raises:
        UserError: if there is no such partition, or ``given`` cannot be read.
    """
    tomorrow = now.date() + timedelta(days=1)  # clocks ahead of now's already show it
    try:
        if not (match := _GIVEN.fullmatch(given)):
            raise ValueError
        start, end = (date.fromisoformat(day) for day in (match[1], match[2] or match[1]))
        since = datetime.combine(start, time(), schedule.zone)
        until = datetime.combine(min(end, tomorrow) + timedelta(days=1), time(), schedule.zone)
        times = list(_times(schedule, since, until, now)) if start <= tomorrow else []
    except (ValueError, OverflowError):
        raise UserError(
            f"--partition {given}: write 2026-11-24, 2026-11-01..2026-11-07 or 2026-11-24T03:00"
        ) from None
    names = dict.fromkeys(_partition(at) for at in times)
    partitions = [name for name in names if not match[3] or name == given]
    if not partitions:
        raise UserError(f"--partition {given}: '{schedule.cron}' has not been due then")
    return partitions


def latest(schedule: Schedule, now: datetime) -> str:
    """Return the partition that was due last. Raises ``UserError`` if none ever is."""
    back = timedelta(minutes=1)
    while back <= _LONGEST_GAP:
        if times := list(_times(schedule, now - back, now + timedelta.resolution, now)):
            return _partition(times[-1])
        back *= 4
    raise UserError(Problem("cron", f"cron: '{schedule.cron}' is never due"))


def _times(
    schedule: Schedule, since: datetime, until: datetime, now: datetime
) -> Iterator[datetime]:
    """Yield the due times from ``since`` on, before ``until`` and not after ``now``."""
    trigger, at = schedule.trigger, None
    while at := trigger.get_next_fire_time(at, at or since):
        if at > now or at >= until:
            return
        yield at


def _partition(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="minutes")


def _errors(schedule: Schedule) -> Iterator[Problem]:
    yield from name_errors(schedule.name)
    yield from model_name_errors("model", schedule.model)
    yield from _timing(schedule)
    yield from out_of_bounds(schedule)
    paths = {"workspace": schedule.workspace}
    if schedule.data.path:
        paths["data.path"] = schedule.data.path
    if schedule.address:
        yield from filter(None, (not_on_all_nodes(key, path) for key, path in paths.items()))
    known = flatten(asdict(schedule))
    yield from secrets({k: v for k, v in known.items() if not k.startswith("alarm.")})
    yield from source(schedule.images_of("2000-01-01") or "")
    yield from split_errors(schedule.data.splits)
    if (webhook := schedule.alarm.webhook) and (reason := _no_address(webhook)):
        # Without the address, which may have secrets in it.
        yield Problem("alarm.webhook", f"alarm.webhook must {reason}")


def _no_address(address: str) -> str | None:
    if not re.match("https?://", address):
        return "be an address that begins with http:// or https://"
    if re.search(r"[^!-~]", address):
        return "have no spaces, line ends and letters beyond ASCII: write them as %20"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "have a host, such as example.org or [::1], and a port up to 65535"
    return None if host and port != 0 else "have a host, and no port 0"


def _timing(schedule: Schedule) -> Iterator[Problem]:
    cron, fields = schedule.cron, schedule.cron.split()
    try:
        ZoneInfo(schedule.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"there is no {schedule.timezone}: write one such as Europe/Berlin or UTC"
        yield Problem("timezone", f"timezone: {message}")
        return
    if len(fields) == 5 and re.search(r"\d", fields[4]):
        # APScheduler counts Monday as 0, cron Sunday.
        yield Problem("cron", f"cron: '{cron}' counts weekdays: name them, mon to sun")
    elif len(fields) == 5 and fields[2] != "*" and fields[4] != "*":
        # APScheduler requires both to match, cron either.
        message = f"cron: '{cron}' gives a day of the month and a weekday: give one of them"
        yield Problem("cron", message)
    else:
        try:
            latest(schedule, datetime.now(schedule.zone))
        except UserError as never:
            yield from never.problems
        except ValueError as error:
            yield Problem("cron", f"cron: '{cron}': {error}")
