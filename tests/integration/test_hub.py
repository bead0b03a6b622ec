"""Data from the Hub: pinned, bounded, and traceable, with a stand-in that serves what is asked for."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from bngan.data import embedded
from pipeline.config.loader import load_config
from pipeline.core.errors import RetryableError, UserError
from pipeline.reports.tables import data_summary
from pipeline.workflow import runner as workflow
from tests.environment import ROOT
from tests.hub import Hub, Repository
from tests.integration.hub_process import look, process, tree

NOWHERE = "0" * 40


@pytest.fixture(scope="module")
def hub() -> Hub:
    repositories = {name: Repository() for name in ("o/n", "o/gated", "o/large", "o/vast")}
    for name, repository in repositories.items():
        repository.push(tree(200 if name == "o/n" else 20))
    repositories["o/gated"].gated = True
    repositories["o/large"].size, repositories["o/vast"].size = 31_200_000_000, 10**18
    return Hub(repositories)


@pytest.fixture(scope="module")
def places(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with hub.serve() as address:
        cache = str(tmp_path_factory.mktemp("cache"))
        yield {"HF_ENDPOINT": address, "HF_HOME": cache, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def call(places: dict[str, str]) -> Iterator[Any]:
    with process(**places) as call:
        yield call


@pytest.fixture
def name(hub: Hub) -> str:
    """Return the name of a dataset of 200 images that only this test knows."""
    name = f"o/n{len(hub.repositories)}"
    hub.repositories[name] = Repository()
    hub.repositories[name].push(tree(200))
    return name


@pytest.fixture(autouse=True)
def _forget(hub: Hub) -> None:
    hub.requests.clear()
    hub.busy = False


def downloads(hub: Hub) -> list[str]:
    return [asked for asked in hub.requests if asked.startswith("GET") and "/data/" in asked]


def test_a_branch_is_the_commit_that_it_is_now_and_a_tag_stays(
    hub: Hub, call: Any, name: str
) -> None:
    repository = hub.repositories[name]
    old = repository.refs["v1"] = repository.refs["main"]
    new = repository.push(tree(220))
    for revision, commit in {"": new, "@v1": old, f"@{old}": old, "@main": new}.items():
        assert call(look, f"hub:{name}{revision}") == (
            commit,
            {old: 200, new: 220}[commit],
            ["cat", "dog"],
        )
    assert [asked.split("/")[5] for asked in downloads(hub)] == [new, old]  # and then cached


def test_a_branch_that_moves_meanwhile_is_read_as_it_was(hub: Hub, call: Any, name: str) -> None:
    repository = hub.repositories[name]
    commit, repository.meanwhile = repository.push(tree(204)), tree(206)
    assert call(look, f"hub:{name}")[:2] == (commit, 204)
    assert repository.refs["main"] != commit


@pytest.mark.parametrize(("emptied", "between"), [("datasets/", "___"), ("hub/datasets--", "--")])
def test_what_is_cached_is_no_download(
    hub: Hub, call: Any, name: str, places: dict[str, str], emptied: str, between: str
) -> None:
    too_large = rf"^data.max_download_gb: hub:{name} .*, and 0.0 MB are allowed"
    with pytest.raises(UserError, match=too_large):
        call(look, f"hub:{name}", 0.0)
    assert call(look, f"hub:{name}")[1] == 200
    folder = emptied + name.replace("/", between)
    shutil.rmtree(Path(places["HF_HOME"]) / folder)  # of tables and files, one will do
    assert call(look, f"hub:{name}", 0.0)[1] == 200


@pytest.mark.parametrize(
    ("path", "most", "message"),
    [
        (
            "hub:o/none",
            1,
            "data.path: there is no hub:o/none on the Hub; if it is private, set HF_",
        ),
        ("hub:o/gated", 1, "data.path: hub:o/gated is gated: ask for access at http"),
        ("hub:o/n@v9", 1, "data.path: hub:o/n@v9: there is no such branch, tag or commit"),
        (f"hub:o/n@{NOWHERE}", 1, f"data.path: hub:o/n@{NOWHERE}: there is no such branch"),
        ("hub:o/large", 31, "data.max_download_gb: hub:o/large (commit COMMIT) has 31.2 GB to "),
        ("hub:o/vast", 1e10, "data.path: hub:o/vast takes 2,000,000,000.0 GB at CACHE"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_nothing_is_downloaded(
    hub: Hub, call: Any, places: dict[str, str], path: str, most: float, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        call(look, path, most)
    assert not isinstance(caught.value, RetryableError)
    (line,) = str(caught.value).splitlines()
    commit = hub.repositories["o/large"].refs["main"]
    assert line.startswith(message.replace("COMMIT", commit).replace("CACHE", places["HF_HOME"]))
    assert downloads(hub) == []


def test_a_hub_that_does_not_answer_may_later(hub: Hub, call: Any) -> None:
    hub.busy = True
    with pytest.raises(
        RetryableError, match=r"^data\.path: the Hub does not answer \(.*503.*\): try"
    ):
        call(look, "hub:o/n")


def test_offline_it_is_the_commit_in_the_cache_and_no_other(
    hub: Hub, call: Any, name: str, places: dict[str, str]
) -> None:
    repository = hub.repositories[name]
    known = repository.push(tree(240))
    assert call(look, f"hub:{name}")[0] == known
    newer = repository.push(tree(230), "next")
    assert call(look, f"hub:{name}@{newer}")[0] == newer
    repository.push(tree(250))
    hub.requests.clear()
    with process(**places, HF_HUB_OFFLINE="1") as offline:
        assert offline(look, f"hub:{name}", 0.0) == (known, 240, ["cat", "dog"])
        assert offline(look, f"hub:{name}@{newer}")[:2] == (newer, 230)
        for path in (f"hub:{name}@next", f"hub:{name}@{NOWHERE}", "hub:o/large"):
            message = f"^data.path: {path} is not in the cache of datasets, and HF_HUB_OFFLINE is"
            with pytest.raises(UserError, match=message):
                offline(look, path)
    assert hub.requests == []


class Quiet:
    def stage_started(self, _: Any) -> None: ...
    def stage_ended(self, *_: Any) -> None: ...
    def message(self, _: str) -> None: ...
    def progress(self, *_: Any) -> None: ...


def test_a_finished_run_is_traceable_and_asks_nobody_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    asked: list[tuple[str, float]] = []
    digits = embedded.digits()
    monkeypatch.setattr("bngan.data.sources.load", lambda *w: asked.append(w) or (digits, NOWHERE))
    given = ["data.path=hub:o/n@v1", f"workspace={tmp_path}", "extractor.kind=random"]
    config = load_config(ROOT / "configs/digits.yaml", given)
    for status in ("ran", "cached"):
        result = workflow.run(config, Quiet(), workflow.Options(until="reference"))
        assert [stage.status for stage in result.stages.values()] == [status, status]
        assert result.summaries["prepare"]["commit"] == NOWHERE
        monkeypatch.setattr("socket.socket.connect", None)
    assert asked == [("hub:o/n@v1", 20e9)]
    assert [decision.hit for decision in workflow.plan(config)] == [True, True, *[False] * 3]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    (run,) = client.search_runs([experiment.experiment_id], "tags.stage = 'reference'")
    (read,) = run.inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.source) == ("n", f'{{"uri": "hub:o/n@{NOWHERE}"}}')
    record = {
        key: json.loads((result.folders["prepare"] / f"{name}.json").read_text())
        for key, name in {"data": "dataset", "contents": "contents"}.items()
    }
    assert data_summary(config, record).startswith(f"hub:o/n@{NOWHERE}: 8 x 8 pixels")
