"""Judge by the tags of a run that says RUNNING whether its process lives."""

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from bngan.serialization.json_records import json_object
from pipeline.core.lock import machine_id, process_info

HEARTBEAT_S = 15.0
"""Seconds between two signs of life of a run."""
SILENCE_S = 4 * HEARTBEAT_S
"""Seconds without one after which a run is taken for dead."""
BEAT, PROCESS = "bngan.heartbeat", "bngan.process"
"""Tags of a run: the time of its last sign of life, and its process."""


def signs_of_life() -> dict[str, str]:
    """Return the tags that name this process and the time."""
    return {PROCESS: json.dumps(process_info()), BEAT: f"{time.time():.0f}"}


def process_in(tags: Mapping[str, str]) -> dict[str, Any]:
    """Return what a run's tag says of its process; nothing if a person has edited it."""
    process = json_object(tags.get(PROCESS, ""))
    pid = process.get("pid")
    return process if isinstance(pid, int) and pid > 0 else {}


def last_sign(tags: Mapping[str, str], started: float) -> float:
    """Return the time of a run's last sign of life, in seconds since the epoch as ``started`` is."""
    with suppress(ValueError):
        if math.isfinite(beat := float(tags.get(BEAT, "nan"))):
            return beat
    return started


def lives(tags: Mapping[str, str], started: float) -> bool:
    """Return whether the process of an open run is neither dead nor silent."""
    process = process_in(tags)
    if process.get("machine") == machine_id() and not _exists(process["pid"]):
        return False
    return time.time() - last_sign(tags, started) <= SILENCE_S


def _exists(pid: int) -> bool:
    try:
        with suppress(PermissionError):  # somebody else's, and alive
            os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    return True
