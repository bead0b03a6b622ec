"""An object store that goes away in mid training, for a while or for good."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bngan.serialization.manifest import read_manifest
from pipeline.storage.workspace import CACHE
from tests.commands import DIGITS, bngan_process, running
from tests.faults.proxy import Proxy
from tests.faults.world import SMALL
from tests.integration.conftest import statuses
from tests.integration.servers import object_store, s3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
BOUND = 1800.0


class Store:
    """An object store behind a proxy, and what finds it there."""

    def __init__(self, folder: Path, port: int) -> None:
        import boto3

        self.bucket = f"bucket-{port}"  # a name of its own: stores of a process share theirs
        workspace = f"workspace=s3://{self.bucket}/workspace"
        self.command = ("run", DIGITS, "--json", workspace, *SMALL)
        self.proxy = Proxy(port)
        self.environment = {
            **s3(f"http://127.0.0.1:{self.proxy.port}"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            CACHE: str(folder / "cache"),
        }
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        self.client.create_bucket(Bucket=self.bucket)

    def keys(self, prefix: str, part: str) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", []) if part in each["Key"]]

    def strike(self, mode: str, seconds: float) -> tuple[int, str]:
        """Exit code and standard error of a run that has lost its store after a checkpoint."""
        driver = running(
            *self.command,
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while driver.poll() is None and not self.keys("workspace/training", "/images-"):
            time.sleep(0.1)
        self.proxy.set(mode)
        if seconds:
            threading.Timer(seconds, self.proxy.set, ("through",)).start()
        try:
            _, said = driver.communicate(timeout=BOUND)
        finally:
            driver.kill()
            self.proxy.set("through")
        return driver.returncode, said


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with object_store() as port:
        found = Store(tmp_path, port)
        yield found
        found.proxy.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checksum of the generator that no fault has met."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    bngan_process("run", DIGITS, f"workspace={workspace}", *SMALL, "--to", "train")
    (folder,) = (workspace / "stages" / "train").glob("[!.]*")
    return str(read_manifest(folder)["files"]["generator.safetensors"]["sha256"])


@pytest.mark.parametrize("seconds", [8.0, 0.0], ids=["for 8 s", "for ever"])
@pytest.mark.parametrize("mode", ["gone", "500", "hangs"])
def test_a_store_that_is_lost_costs_no_more_than_time(
    mode: str, seconds: float, store: Store, undisturbed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    code, said = store.strike(mode, seconds)
    took, last = time.monotonic() - begun, said.strip().splitlines()[-2:]
    with capsys.disabled():
        print(f"\n{mode}, {seconds:.0f} s: exit code {code} after {took:.0f} s: {last}")
    assert code in ((0, 3) if seconds else (3,)), said
    assert "Traceback" not in said
    if code:
        again = json.loads(bngan_process(*store.command, timeout=900, **store.environment).stdout)
        assert statuses(again).startswith("cached cached ran")
    (manifest,) = store.keys("workspace/stages/train", "manifest.json")
    told = json.loads(store.client.get_object(Bucket=store.bucket, Key=manifest)["Body"].read())
    assert told["files"]["generator.safetensors"]["sha256"] == undisturbed
