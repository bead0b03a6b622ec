"""A fortnight with a model, in one test."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.commands import DIGITS, bngan, running
from tests.integration.conftest import TINY, run, statuses

NAME = "bngan-digits"


@pytest.mark.slow
def test_from_the_first_version_to_the_morning_after_a_crash(tmp_path: Path) -> None:
    first = run(tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")

    def held() -> dict[str, str]:
        return {alias: str(n) for alias, n in client.get_registered_model(NAME).aliases.items()}

    assert (statuses(first), held()) == ("ran ran ran ran ran", {"champion": "1"})
    assert statuses(run(tmp_path)) == "cached cached cached cached cached"

    # Another learning rate is another training; it is worse, since it hardly learns.
    worse = run(tmp_path, "train.lr=1e-5")
    assert (statuses(worse), worse["model"]["alias"]) == ("cached cached ran ran ran", "challenger")
    assert held() == {"champion": "1", "challenger": "2"}
    tags = client.get_model_version(NAME, "2").tags
    assert tags["bngan.decision"] == "challenger"
    assert tags["bngan.reason"].startswith("not better beyond chance: FID ")
    assert tags["bngan.reason"].endswith(" of champion version 1")

    # Trained onward, it is better.
    better = run(tmp_path, "train.images=24000")
    assert (better["model"]["version"], better["model"]["alias"]) == ("3", "champion")
    assert held() == {"champion": "3", "previous_champion": "1", "challenger": "2"}
    registered = client.search_runs(["1"], "tags.stage = 'register'", order_by=["start_time DESC"])[
        0
    ]
    path = client.download_artifacts(registered.info.run_id, "registration.json")
    gate = json.loads(Path(path).read_text())["gate"]
    assert gate["difference"] <= gate["upper_bound"] < 0
    assert not any(loss["worse"] for loss in gate["vetoes"].values())
    assert registered.inputs.dataset_inputs[0].dataset.name == "embedded:digits"
    version = client.get_model_version(NAME, "3")
    assert f"get-artifact?path=grid.png&run_uuid={registered.info.run_id}" in version.description
    logged = client.get_logged_model(version.tags["bngan.model_id"])
    fid = next(metric for metric in logged.metrics if metric.key == "fid")
    assert (fid.value, fid.dataset_name) == (better["scores"]["fid"], "embedded:digits")

    # A person sees it otherwise.
    bngan("rollback", NAME, "--workspace", str(tmp_path))
    assert held() == {"champion": "1", "previous_champion": "3", "challenger": "2"}

    # Killed while it evaluates: no chance to say so itself.
    given = (f"workspace={tmp_path}", *TINY, "seed=5")
    driver = running("run", DIGITS, *given, stderr=subprocess.DEVNULL)
    while driver.poll() is None and not list((tmp_path / "stages" / "evaluate").glob(".*tmp*")):
        time.sleep(0.005)
    driver.kill()
    driver.wait()
    told = bngan("status", "--workspace", str(tmp_path), "--json").stdout
    newest = json.loads(told)["runs"][0]
    assert (newest["state"], newest["stages"]["evaluate"]) == ("died", "died")
    assert statuses(run(tmp_path, "seed=5")) == "cached cached cached ran ran"
    told = bngan("status", "--workspace", str(tmp_path), "--json").stdout
    assert [r["state"] for r in json.loads(told)["runs"][:2]] == ["finished", "interrupted"]
    versions = client.search_model_versions(f"name = '{NAME}'")
    assert sorted(str(version.version) for version in versions) == ["1", "2", "3", "4"]
