"""Machines that share nothing but an object store: the same result, wherever each part runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bngan.serialization.manifest import read_manifest
from pipeline.storage.workspace import CACHE, Workspace
from tests.commands import DIGITS, bngan, bngan_process
from tests.integration.conftest import TINY, Trained, statuses
from tests.integration.servers import object_store, s3


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An object store; the environment in which it is found."""
    import boto3

    home = tmp_path_factory.mktemp("home")
    with object_store() as port, pytest.MonkeyPatch.context() as patch:
        environment = {
            **s3(f"http://127.0.0.1:{port}"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield environment


@pytest.fixture(scope="module")
def machines(
    bucket: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, list[Path]]]:
    """Address of a Ray cluster of a head and two machines, and where these keep their copies."""
    from ray.cluster_utils import Cluster

    caches = [tmp_path_factory.mktemp(f"machine{number}") for number in range(2)]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for cache in caches:
        cluster.add_node(num_cpus=1, env_vars={CACHE: str(cache)})
    yield cluster.address, caches
    cluster.shutdown()


@pytest.mark.slow
def test_the_same_generator_as_on_one_machine(
    original: Trained,
    bucket: dict[str, str],
    machines: tuple[str, list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, caches = machines
    uri = "s3://bucket/workspace"

    def there(*overrides: str, head: str = "head", code: int = 0) -> Any:
        command = ("run", DIGITS, "--json", f"workspace={uri}", *TINY, *overrides)
        where = {"RAY_ADDRESS": address, CACHE: str(tmp_path / head)}
        done = bngan_process(*command, code=code, **{**bucket, **where})
        return json.loads(done.stdout) if code == 0 else done.stderr

    result = there()
    assert statuses(result) == "ran ran ran ran ran"
    assert result["scores"] == original.result["scores"]
    monkeypatch.setenv(CACHE, str(tmp_path / "head"))
    storage = Workspace.parse(uri)
    (train,) = storage.folders("stages/train")
    (here,) = (original.workspace / "stages" / "train").glob("[!.]*")
    ours, theirs = (
        read_manifest(folder)["files"]["generator.safetensors"]
        for folder in (here, storage.local / train)
    )
    assert ours == theirs  # its checksum
    for cache in caches:  # each machine had its own copies, and made them itself
        copied = {path.name for path in cache.glob("*/stages/*")}
        assert {"prepare", "reference"} <= copied
    # From a head that has nothing, and with a copy that somebody has altered.
    assert statuses(there(head="another")) == "cached cached cached cached cached"
    local = next((tmp_path / "another").glob("*/stages/evaluate/*"))
    (local / "scores.json").write_text("{}")
    assert statuses(there(head="another")) == "cached cached cached cached cached"
    # The training goes on from the store, on machines that were not there.
    longer = there("train.images=12000", head="third")
    assert statuses(longer) == "cached cached ran ran ran"


def test_what_cannot_be_is_said_at_once(bucket: dict[str, str]) -> None:
    command = ("run", DIGITS, "workspace=s3://nowhere/x")
    assert "workspace: s3://nowhere/x cannot be reached" in bngan(*command, code=2, **bucket).stderr
    plain = {**bucket, "MLFLOW_TRACKING_URI": ""}
    assert "needs an MLflow server" in bngan(*command, code=2, **plain).stderr
