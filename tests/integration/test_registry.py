"""The registry: one version per run, aliases that move whole, whoever is killed or races."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from bngan.data.dataset import ImageSpec
from bngan.generation.sampler import Sampler
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_generator
from pipeline.core.errors import UserError
from pipeline.registry import aliases, changes, registry
from pipeline.registry.aliases import Opponent, Verdict
from pipeline.registry.changes import CHALLENGER, CHAMPION, PREVIOUS
from pipeline.registry.logged_model import ModelPackage
from pipeline.serving.model_interface import model_interface
from pipeline.tracking.tracker import Tracker
from tests.environment import ROOT
from tests.registration import NAME, register

ATTEMPTS, PROCESSES = 50, 4


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    model, spec = ModelConfig(), ImageSpec((1, 8, 8))
    torch.manual_seed(0)
    sampler = Sampler(model, spec, build_generator(model, spec).state_dict())
    (tmp_path / "generator").mkdir()
    sampler.save(tmp_path / "generator", images_seen=1)
    return tmp_path


def by_fid(workspace: Path, number: str) -> Any:
    def judge(opponent: Opponent) -> Verdict:
        ours, theirs = (
            float(registry.tags_of(workspace, NAME, n)["fid"]) for n in (number, opponent.number)
        )
        return Verdict(ours < theirs, f"{ours} against {theirs}")

    return judge


def enter(workspace: Path, identity: str, fid: float, generator: str = "") -> str:
    number = register(workspace, identity, fid, generator)
    alias, _ = aliases.assign_alias(workspace, NAME, number, by_fid(workspace, number), print)
    return f"{number} {alias}"


@pytest.fixture
def client(workspace: Path) -> MlflowClient:
    Tracker(workspace, "experiment")
    return MlflowClient(f"sqlite:///{workspace}/mlflow.db")


def held(client: MlflowClient) -> dict[str, str]:
    return changes.aliases(client, NAME)


def test_the_better_one_reigns_and_its_predecessor_is_known(
    workspace: Path, client: MlflowClient
) -> None:
    assert enter(workspace, "a", 5.0) == "1 champion"
    assert enter(workspace, "b", 6.0) == "2 challenger"
    assert enter(workspace, "c", 4.0) == "3 champion"
    assert held(client) == {CHAMPION: "3", PREVIOUS: "1", CHALLENGER: "2"}
    assert enter(workspace, "c", 4.0) == "3 champion"  # again: nothing moves
    assert held(client)[PREVIOUS] == "1"
    version = client.get_model_version(NAME, "2")
    assert version.tags["bngan.decision"] == "challenger"
    assert version.tags["bngan.reason"] == "6.0 against 5.0"
    assert version.description == "# b"
    logged = client.get_logged_model(version.tags["bngan.model_id"])
    (metric,) = logged.metrics
    assert (metric.key, metric.value, metric.dataset_name) == ("fid", 6.0, "data")


def test_a_person_can_go_back_and_the_gate_does_not_undo_it(
    workspace: Path, client: MlflowClient
) -> None:
    enter(workspace, "a", 5.0)
    with pytest.raises(UserError, match="has no previous champion to go back to"):
        aliases.rollback(workspace, NAME, print)
    enter(workspace, "b", 4.0)
    assert aliases.rollback(workspace, NAME, print) == ("1", "2")
    assert held(client) == {CHAMPION: "1", PREVIOUS: "2"}
    assert enter(workspace, "b", 4.0) == "2 challenger"
    aliases.promote(workspace, NAME, "2", print)
    assert held(client) == {CHAMPION: "2", PREVIOUS: "1"}
    assert client.get_model_version(NAME, "2").tags["bngan.reason"] == "promoted by hand"
    with pytest.raises(UserError, match="there is no version 7 of gan"):
        aliases.promote(workspace, NAME, "7", print)


def test_what_was_rolled_back_stays_so_under_another_number(
    workspace: Path, client: MlflowClient
) -> None:
    """Registered anew, since code has changed, it is the same generator."""
    enter(workspace, "a", 5.0)
    enter(workspace, "b", 4.0, generator="bad")
    aliases.rollback(workspace, NAME, print)
    assert enter(workspace, "b2", 3.0, generator="bad") == "3 challenger"
    assert "was rolled back" in client.get_model_version(NAME, "3").tags["bngan.reason"]
    aliases.rollback(workspace, NAME, print)  # and back: it is forgiven
    assert held(client)[CHAMPION] == "2"
    assert aliases.ROLLED_BACK not in client.get_model_version(NAME, "2").tags


def test_what_is_rolled_back_while_it_is_judged_is_not_crowned(
    workspace: Path, client: MlflowClient
) -> None:
    enter(workspace, "a", 5.0)
    number = register(workspace, "b", 4.0)

    def judge(opponent: Opponent) -> Verdict:
        aliases.promote(workspace, NAME, number, print)
        aliases.rollback(workspace, NAME, print)
        return Verdict(True, "better")

    alias, verdict = aliases.assign_alias(workspace, NAME, number, judge, print)
    assert (alias, held(client)[CHAMPION]) == (CHALLENGER, "1")
    assert "was rolled back" in verdict.reason


def test_the_run_goes_on_after_its_model_is_logged(workspace: Path, client: MlflowClient) -> None:
    run_id = Tracker(workspace, "experiment").start("register", {})
    product = ModelPackage(
        {"generator": workspace / "generator"},
        {"bngan.fingerprint": "a"},
        "",
        {},
        ("d", "0" * 64),
        model_interface(),
    )
    registry.register(workspace, run_id, NAME, product, print)
    assert client.get_run(run_id).info.status == "RUNNING"


def test_a_champion_that_changes_meanwhile_is_judged_anew(
    workspace: Path, client: MlflowClient
) -> None:
    enter(workspace, "a", 5.0)
    numbers = {
        identity: register(workspace, identity, fid) for identity, fid in (("b", 4), ("c", 3))
    }
    seen = []

    def judge(opponent: Opponent) -> Verdict:
        seen.append(opponent.number)
        if opponent.number == "1":
            aliases.promote(workspace, NAME, numbers["c"], print)
        return by_fid(workspace, numbers["b"])(opponent)

    alias, _ = aliases.assign_alias(workspace, NAME, numbers["b"], judge, print)
    assert (alias, seen) == (CHALLENGER, ["1", numbers["c"]])
    assert held(client)[CHAMPION] == numbers["c"]


def attempt(workspace: Path, number: int) -> tuple[str, str]:
    """One of many: five runs, each registered ten times."""
    identity = f"run-{number % 5}"
    return identity, enter(workspace, identity, 10.0 - number % 5)


def test_many_at_once_lose_nothing_and_duplicate_nothing(
    workspace: Path, client: MlflowClient
) -> None:
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        entered = pool.starmap(attempt, [(workspace, n) for n in range(ATTEMPTS)], chunksize=1)
    versions = client.search_model_versions(f"name = '{NAME}'")
    identities = {v.tags["bngan.fingerprint"]: str(v.version) for v in versions}
    assert sorted(identities) == [f"run-{n}" for n in range(5)]
    assert len(versions) == 5
    assert {answer.split()[0] for identity, answer in entered if identity == "run-3"} == {
        identities["run-3"]
    }
    crowned = sorted(
        (v.tags[aliases.CROWNED], str(v.version)) for v in versions if aliases.CROWNED in v.tags
    )
    reigned = [number for _, number in crowned]
    assert reigned[-1] == held(client)[CHAMPION] == identities["run-4"]  # the lowest FID
    assert held(client).get(PREVIOUS) == (reigned[-2] if len(reigned) > 1 else None)


@pytest.fixture
def unset() -> Iterator[None]:
    yield
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def test_parameters_that_cannot_be_are_named(workspace: Path, unset: None) -> None:
    number = register(workspace, "a", 5.0)
    mlflow.set_tracking_uri(f"sqlite:///{workspace}/mlflow.db")
    model = mlflow.pyfunc.load_model(f"models:/{NAME}/{number}")
    for params, message in (
        ({"truncation": 2.0}, r"truncation must lie in \(0, 1\], got 2"),
        ({"label": 3}, "knows no classes"),
        ({"format": "gif"}, "format must be array or png, got 'gif'"),
    ):
        with pytest.raises(mlflow.exceptions.MlflowException, match=message):
            model.predict({"index": np.array([0])}, params=params)


ELSEWHERE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"not installed here: {{name}}")

sys.meta_path.insert(0, Absent())
import mlflow, numpy as np
mlflow.set_tracking_uri("sqlite:///{workspace}/mlflow.db")
model = mlflow.pyfunc.load_model("models:/{name}/1")
print(model.predict({{"index": np.arange(1000)}}, params={{"seed": 3}}).shape)
import bngan
print(bngan.__file__)
"""


def test_the_model_needs_mlflow_torch_numpy_safetensors_and_pillow_only(workspace: Path) -> None:
    register(workspace, "a", 5.0)
    absent = ("pipeline", "ray", "datasets", "omegaconf", "torchvision", "torch_fidelity", "typer")
    script = ELSEWHERE.format(absent=absent, workspace=workspace, name=NAME)
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    shape, code = done.stdout.splitlines()
    assert shape == "(1000, 8, 8, 1)"
    assert not code.startswith(str(ROOT))  # it came with the model
