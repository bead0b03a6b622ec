"""``gc --keep N``: the older results go, and all that is in use stays, works and is a hit."""

import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.commands import DIGITS, bngan
from tests.integration.conftest import TINY, Trained, statuses
from tests.integration.servers import served

SHORT = ("train.images=640", "train.score_every=640", "train.batch_size=64")
HITS = "cached cached cached cached cached"


@pytest.mark.full
def test_older_results_go_and_all_that_is_in_use_stays(trained: Trained) -> None:
    here = trained.workspace

    def run(*options: str) -> Any:
        done = bngan("run", DIGITS, "--json", f"workspace={here}", *SHORT, *options)
        return json.loads(done.stdout) | {"told": done.stderr}

    def gc(*options: str) -> Any:
        return json.loads(bngan("gc", "--workspace", here, "--json", *options).stdout)

    another = ("seed=3", "name=other", "register.model=other")
    run("seed=1")
    newest = run("seed=2")
    run(*another)
    assert gc()["folders"] == []
    assert gc("--keep", "3")["bytes"] == 0
    listed = gc("--keep", "1")
    assert [version["path"] for version in listed["versions"]] == ["models:/bngan-digits/2"]
    # The champion's outputs stay, but not its checkpoints: seed 2 is the newest.
    kinds = Counter(folder["path"].split("/")[-2] for folder in listed["folders"])
    assert kinds == {"train": 1, "evaluate": 1, "register": 1, "training": 2}
    for folder in listed["folders"]:
        files = [path for path in (here / folder["path"]).rglob("*") if path.is_file()]
        assert folder["bytes"] == sum(path.stat().st_size for path in files)
        assert "not the newest of digits" in folder["reason"]
    text = bngan("gc", "--workspace", here, "--keep", "1").stdout
    assert "models:/bngan-digits/2  0 days old, no alias, not the newest of bngan-digits" in text
    assert f"5 folders, 1 versions, {listed['bytes'] / 1e6:,.1f} MB: beyond --keep 1" in text
    before = used(here)
    assert gc("--keep", "1", "--delete")["bytes"] == listed["bytes"]
    assert before - used(here) == pytest.approx(listed["bytes"], rel=0.01)
    assert gc("--keep", "1", "--delete")["bytes"] == 0
    left = json.loads(bngan("models", "--workspace", here, "--json").stdout)["versions"]
    assert [(v["name"], v["version"]) for v in left] == [
        ("bngan-digits", "3"),
        ("bngan-digits", "1"),
        ("other", "1"),
    ]
    with served("models:/bngan-digits@champion", "--workspace", str(here)) as url:
        urllib.request.urlopen(f"{url}/ping", timeout=60).close()
    assert statuses(run(*another)) == statuses(run("seed=2")) == HITS
    assert run("seed=2")["model"]["version"] == newest["model"]["version"]
    first = bngan("run", DIGITS, "--json", f"workspace={here}", *TINY)
    assert statuses(json.loads(first.stdout)) == HITS
    anew = run("seed=1")
    assert statuses(anew).startswith("cached cached ran")
    assert "starts anew: run " in anew["told"]


def used(workspace: Path) -> int:
    """Bytes of the folders that gc looks at, and of the artifacts."""
    folders = (workspace / name for name in ("stages", "training", "artifacts"))
    return sum(p.stat().st_size for folder in folders for p in folder.rglob("*") if p.is_file())
