"""A machine whose cable is pulled in mid training, for good or for a while: the same weights."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.infra.network import POSSIBLE, Machine
from tests.infra.test_namespaces import IMAGES, MANIFESTS, RUN, Cluster
from tests.infra.test_namespaces import cluster as cluster  # a fixture
from tests.integration.conftest import run
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not POSSIBLE, reason="network namespaces want root and ip (iproute2)"),
]
BOUND = 900.0


def cable(machine: Machine, state: str) -> None:
    number = machine.address.rpartition(".")[2]
    device = f"{machine.network.tag}o{number}"
    subprocess.run(["ip", "link", "set", device, state], check=True)


@pytest.mark.parametrize("seconds", [20.0, None], ids=["for 20 s", "for ever"])
def test_a_machine_that_nobody_reaches(
    cluster: Cluster, tmp_path: Path, seconds: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.start()
    submitted, victim = cluster.train()
    (seen,) = until(lambda: [n for n in cluster.metrics("ray_bngan_images") if n > 0], 200)
    assert seen < IMAGES / 2
    cable(victim, "down")
    cut = time.monotonic()
    if seconds:
        threading.Timer(seconds, cable, (victim, "up")).start()
    told, _ = submitted.communicate(timeout=BOUND)
    with capsys.disabled():
        print(f"\ndone {time.monotonic() - cut:.0f} s after the cut")
    assert submitted.returncode == 0, told[-4000:]
    assert "champion (first version)" in told
    run(tmp_path / "alone", *RUN, timeout=900)
    (there,) = json.loads(cluster.store.run(sys.executable, "-c", MANIFESTS))
    (here,) = (tmp_path / "alone" / "stages" / "train").glob("[!.]*/manifest.json")
    weights = "generator.safetensors"
    assert there["files"][weights] == json.loads(here.read_text())["files"][weights]
