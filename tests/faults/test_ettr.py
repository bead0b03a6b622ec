"""The share of time that trains is computed right; slowly, a training goes on after kills."""

import os
import re
import subprocess
import sys

import pytest

from tests.environment import ROOT
from tests.faults.ettr import Campaign, Point, lost, share
from tests.faults.world import World, short_folder


def test_time_counts_that_is_in_a_later_checkpoint() -> None:
    first, last = Point(1000.0, 50.0), Point(1120.0, 150.0)
    assert share(first, last) == pytest.approx(100 / 120)
    # The kill comes 5 s after a checkpoint; training goes on 12 s later, and 3 s on there is a new one.
    assert lost(Point(1000.0, 50.0), 1005.0, Point(1020.0, 53.0)) == (5.0, 12.0)


def test_a_line_for_each_kill_and_one_for_all() -> None:
    with World(short_folder(), server=False) as world:
        campaign = Campaign(world, 1.0, 30.0)
        campaign.points = [Point(1000.0, 0.0), Point(1010.0, 10.0), Point(1030.0, 13.0)]
        campaign.kills = [(1015.0, 2), (1031.0, 3)]
        assert list(campaign.report()) == [
            "kill 1: 5.0 s repeated, 12.0 s without training",
            "ETTR 0.43: 1 kills in 30 s, each of 5.0 s repeated and 12.0 s without training",
        ]


@pytest.mark.slow
def test_a_training_goes_on_after_kills() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.ettr", "--minutes", "4", "--every", "60"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"ETTR (0\.\d+): (\d) kills", done.stdout)
    assert found, done.stdout
    assert 0 < float(found[1]) < 1
    assert int(found[2]) >= 2
