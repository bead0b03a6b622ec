"""A cluster with tokens, MLflow's server on PostgreSQL: from a first submission to a drift alarm."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import gettempdir

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.environment import ROOT
from tests.integration.conftest import TINY
from tests.integration.digits import write_digits
from tests.integration.head import Head
from tests.integration.servers import POSTGRES, mlflow_server, postgres
from tests.receiver import Receiver
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(POSTGRES is None, reason="there is no /usr/lib/postgresql: install it"),
]
NAME, SECRET = "bngan-digits", "hunter2-of-the-webhook"
PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}


class World:
    """All servers, and how to use them."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder, self.workspace = folder, folder / "workspace"
        self.database = stack.enter_context(postgres())
        self.mlflow = stack.enter_context(mlflow_server(self.database, folder))
        self.receiver = Receiver()
        stack.callback(self.receiver.server.shutdown)
        hook = f"http://{self.receiver.host}/?token={SECRET}"
        self.head = Head(folder, BNGAN_WEBHOOK=hook, **PATIENT)
        stack.callback(self.head.stop)
        self.environment = {"MLFLOW_TRACKING_URI": self.mlflow, "BNGAN_WEBHOOK": "http://elsewhere"}
        self.client = MlflowClient(self.mlflow, registry_uri=self.mlflow)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        log = (self.folder / f"{arguments[0]}-{time.monotonic_ns()}.log").open("w")
        environment = {**self.head.environment, **self.environment}
        command = self.head.bngan(*arguments)
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, text=True
        )

    def run(self, *arguments: str) -> str:
        done = self.head.command(*arguments, **self.environment)
        return done.stdout + done.stderr

    def training(self) -> tuple[str, ...]:
        more = (
            "train.images=150000",
            "train.score_every=50000",
            "train.checkpoint_every_seconds=1",
        )
        config = ("configs/digits.yaml", *TINY, *more, f"workspace={self.workspace}")
        return ("submit", *config, "--address", self.head.address)

    def evaluations(self, name: str) -> list[Run]:
        """Those that are done, oldest first."""
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            return []
        found = self.client.search_runs(
            [experiment.experiment_id],
            "attributes.status = 'FINISHED'",
            order_by=["attributes.start_time ASC"],
        )
        return list(found)

    def schedule(self, name: str, cron: str) -> Path:
        given = {
            "name": name,
            "model": NAME,
            "cron": cron,
            "workspace": str(self.workspace),
            "address": self.head.address,
            "data": {"path": f"{self.folder}/camera/{{date}}"},
            "alarm": {"webhook": "${oc.env:BNGAN_WEBHOOK}"},
        }
        (path := self.folder / f"{name}.yaml").write_text(yaml.safe_dump(given))
        return path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(stack, tmp_path)


def test_from_a_first_submission_to_an_alarm(world: World) -> None:
    # Submitted, stopped in mid-training, submitted again, finished.
    first = world.start(*world.training(), "--follow")
    (job,) = until(lambda: world.head.jobs(), 100)
    there = world.run(*world.training())
    assert (there.split()[0], "there already" in there) == (job, True)
    until(lambda: list(world.workspace.glob("training/*/images-*")), 300)
    world.run("ray", "job", "stop", job, "--address", world.head.address)
    assert first.wait(timeout=60) == 1
    done = world.run(*world.training(), "--follow")
    assert f"{job}-2" in done
    assert "continues from " in done
    assert set(world.head.jobs()) == {job, f"{job}-2"}
    version = world.client.get_model_version_by_alias(NAME, "champion")
    assert (str(version.version), "fid" in version.tags) == ("1", True)

    # Two instances, due every minute: once on all digits, then on half of them.
    now = datetime.now(UTC)
    days = [f"{now + timedelta(days=days):%Y-%m-%d}" for days in (-1, 0, 1)]
    for day in days:
        write_digits(world.workspace, world.folder / "camera" / day)
    path = world.schedule("minutely", "* * * * *")
    clocks = [world.start("schedule", str(path)) for _ in range(2)]
    (quiet,) = until(lambda: world.evaluations("minutely"), 400)[:1]
    assert quiet.data.tags["drift"] == "ok"
    assert world.receiver.got == []
    for day in days[1:]:
        write_digits(world.workspace, world.folder / "half" / day, kinds=5)
        (world.folder / "camera" / day).rename(world.folder / f"before-{day}")
        (world.folder / "half" / day).rename(world.folder / "camera" / day)
    alarms = until(
        lambda: [r for r in world.evaluations("minutely") if r.data.tags["drift"] == "alarm"], 400
    )
    for clock in clocks:
        clock.send_signal(signal.SIGINT)
    assert [clock.wait(timeout=60) for clock in clocks] == [130, 130]
    tick = alarms[0].data.tags["partition"]
    assert world.receiver.got[0][1]["partition"] == tick
    assert world.receiver.got[0][1]["data"]["drifted"]

    # What is asked for again is there; what was missed is made up for.
    again = world.run("schedule", str(path), "--partition", tick)
    assert "there already" in again
    nightly = world.schedule("nightly", "0 3 * * *")
    for told in ("submitted to", "there already"):
        assert told in world.run("schedule", str(nightly), "--partition", days[0])
    (missed,) = world.evaluations("nightly")
    assert (missed.data.tags["drift"], missed.data.tags["partition"]) == ("ok", f"{days[0]}T03:00")

    # Nothing twice, and nothing told that is nobody's business.
    partitions = [run.data.tags["partition"] for run in world.evaluations("minutely")]
    assert len(partitions) == len(set(partitions))
    told = [body["partition"] for _, body in world.receiver.got]
    assert len(told) == len(set(told))
    shown = world.head.jobs()
    names = [name for name in shown if name.startswith("minutely-")]
    assert all(re.fullmatch(r"minutely-\d{4}-\d\d-\d\dT\d{4}", name) for name in names)
    experiments = [each.experiment_id for each in world.client.search_experiments()]
    runs = [run.to_dictionary() for run in world.client.search_runs(experiments)]
    everything = json.dumps(runs) + "".join(shown.values())
    everything = everything.replace(str(world.folder), "CLUSTER")
    password = world.database.split(":")[2].split("@")[0]
    for hidden in (SECRET, password, world.head.token, str(ROOT), f"{gettempdir()}/bngan-"):
        assert hidden not in everything
