"""Three Ray nodes, MLflow and an object store, each a machine of its own as far as they can tell."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.commands import bngan_process
from tests.infra.network import POSSIBLE, Machine, Network
from tests.infra.tools import INFRA
from tests.integration.conftest import TINY, run
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not POSSIBLE, reason="network namespaces want root and ip (iproute2)"),
]
BIN = Path(sys.executable).parent
IMAGES = 200_000
RUN = [f"train.images={IMAGES}", "train.score_every=100000", "train.checkpoint_every_seconds=1"]
STARTED = "ray_bngan_worker_start_timestamp_seconds"
WORKSPACE, MODEL = "s3://bngan/runs", "models:/bngan-digits@champion"
GIVEN = ("configs/digits.yaml", *TINY, *RUN, f"workspace={WORKSPACE}")
ALIVE = """
import json
from ray.util.state import list_actors, list_nodes
address = "http://127.0.0.1:8265"
nodes = {n.node_id: n.node_ip for n in list_nodes(address) if n.state == "ALIVE"}
workers = list_actors(address, filters=[("class_name", "=", "RayTrainWorker")])
workers = [nodes.get(w.node_id) for w in workers if w.state == "ALIVE"]
print(json.dumps({"nodes": sorted(nodes.values()), "workers": workers}))
"""
WAIT = """
import sys, time, urllib.request
for _ in range(600):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5)
        break
    except urllib.error.HTTPError:
        break
    except OSError:
        time.sleep(0.5)
else:
    raise SystemExit(f"nothing answers at {sys.argv[1]}")
"""
METRICS = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=3).read().decode())
    except OSError:
        pass
"""
MANIFESTS = """
import boto3, json
s3 = boto3.client("s3")
found = s3.list_objects_v2(Bucket="bngan", Prefix="runs/stages/train/")["Contents"]
names = [each["Key"] for each in found if each["Key"].endswith("manifest.json")]
print(json.dumps([json.load(s3.get_object(Bucket="bngan", Key=name)["Body"]) for name in names]))
"""


class Cluster:
    """All machines, and what runs on them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.store, self.head, *self.workers = network.machines.values()
        there = self.store.address
        network.environment |= {
            "AWS_ENDPOINT_URL": f"http://{there}:9000",
            "MLFLOW_TRACKING_URI": f"http://{there}:5000",
        }

    def start(self) -> None:
        python, there = sys.executable, self.store.address
        self.store.start(python, "-m", "moto.server", "-H", there, "-p", "9000")
        self.wait(self.store, f"http://{there}:9000/moto-api/data.json")
        self.store.run(*buckets())
        database = ("--backend-store-uri", f"sqlite:///{self.store.folder}/mlflow.db")
        server = (python, "-m", "mlflow", "server", *database, "--host", there, "--port", "5000")
        own = ("--workers", "1", "--artifacts-destination", "s3://mlflow")
        self.store.start(*server, *own, "--allowed-hosts", f"{there}:5000")
        self.wait(self.store, f"http://{there}:5000/health")
        one = ("--num-cpus", "1", "--object-store-memory", "200000000")
        for machine in (self.head, *self.workers):
            script = ["start-head.sh"] if machine is self.head else ["join.sh", self.head.address]
            address = ("--node-ip-address", machine.address)
            # Not from the sources: what runs there must be what was submitted.
            machine.start(
                INFRA / "ray" / script[0],
                *script[1:],
                *address,
                *one,
                cwd=machine.folder,
                BNGAN_CACHE=str(machine.folder / "cache"),
                RAY_TMPDIR=str(self.network.temporary),
            )
            if machine is self.head:
                self.wait(machine, "http://127.0.0.1:8265/api/version")

    @staticmethod
    def wait(machine: Machine, url: str) -> None:
        try:
            machine.run(sys.executable, "-c", WAIT, url)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{machine.log.read_text()[-4000:]}") from error

    def train(self) -> tuple[subprocess.Popen[str], Machine]:
        """A job that is followed, when it trains, and one of the machines that it trains on."""
        until(lambda: len(self.alive()["nodes"]) == 3, 120)
        submitted = subprocess.Popen(
            self.head.command(sys.executable, "-m", "pipeline", "submit", *GIVEN, "--follow"),
            cwd=INFRA.parent,
            env=self.network.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        both = until(lambda: len(found := self.alive()["workers"]) == 2 and found, 300)
        return submitted, next(each for each in self.workers if each.address in both)

    def alive(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = json.loads(self.head.run(sys.executable, "-c", ALIVE))
        return found

    def metrics(self, name: str) -> list[float]:
        """What the nodes that answer export under a name."""
        machines = (self.head, *self.workers)
        urls = [f"http://{machine.address}:8080/metrics" for machine in machines]
        lines = self.head.run(sys.executable, "-S", "-c", METRICS, *urls).splitlines()
        return [float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{")]


def buckets() -> list[str]:
    """The command of compose.yaml's service of that name, by this Python."""
    compose = yaml.safe_load((INFRA / "docker" / "compose.yaml").read_text())
    _, *arguments = compose["services"]["buckets"]["command"]
    return [sys.executable, *arguments]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "PYTHON"))}
    environment = {
        **kept,
        "PATH": f"{BIN}:{kept['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "GLOO_SOCKET_IFNAME": "eth0",
        "OMP_NUM_THREADS": "1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with Network(tmp_path, "store", "head", "one", "two", **environment) as network:
        yield Cluster(network)


def test_a_machine_dies_in_mid_training_and_nothing_is_lost(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.start()
    submitted, victim = cluster.train()
    until(lambda: cluster.metrics("ray_bngan_checkpoint_timestamp_seconds"), 200)
    (started,) = cluster.metrics(STARTED)
    (seen,) = until(lambda: [n for n in cluster.metrics("ray_bngan_images") if n > 0], 200)
    assert 0 < seen < IMAGES / 2
    victim.kill()
    until(lambda: max(cluster.metrics(STARTED), default=0.0) > started, 200)
    assert sorted(cluster.alive()["nodes"]) == sorted(
        machine.address for machine in (cluster.head, *cluster.workers) if machine is not victim
    )
    # A cluster that has lost a machine is one still; the job that runs there is found.
    again = cluster.head.run(sys.executable, "-m", "pipeline", "submit", *GIVEN)
    told, _ = submitted.communicate(timeout=600)
    assert again in told
    assert submitted.returncode == 0, told[-4000:]
    assert "champion (first version)" in told

    # The same as on one machine that nothing happened to: what was stored, and what is served.
    alone = run(tmp_path / "alone", *RUN, timeout=900)
    (there,) = json.loads(cluster.store.run(sys.executable, "-c", MANIFESTS))
    (here,) = (tmp_path / "alone" / "stages" / "train").glob("[!.]*/manifest.json")
    weights = "generator.safetensors"
    assert there["files"][weights] == json.loads(here.read_text())["files"][weights]
    picture = ("sample", MODEL, "--count", "4", "--workspace")
    alive = next(m for m in cluster.workers if m is not victim)
    theirs, ours = tmp_path / "theirs.png", tmp_path / "ours.png"
    own = {"BNGAN_CACHE": str(alive.folder / "cache")}
    alive.run(sys.executable, "-m", "pipeline", *picture, WORKSPACE, "-o", theirs, **own)
    bngan_process(*picture, str(tmp_path / "alone"), "-o", str(ours))
    assert theirs.read_bytes() == ours.read_bytes()
    assert alone["model"]["version"] in (1, "1")
