"""What is submitted, under which name, and what is refused before anybody is asked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cli import submission
from pipeline.cluster import jobs
from pipeline.config.loader import load_config
from pipeline.core.errors import UserError

DIGITS = Path(__file__).parents[3] / "configs/digits.yaml"


class Cluster:
    """Ray's client, as far as it is used.

    Attributes:
        rivals: how many submit at the same time, and are faster.
        starting: how many submissions it turns down before it can take jobs.
    """

    def __init__(self, rivals: int = 0) -> None:
        self.jobs: dict[str, str] = {}
        self.rivals, self.starting = rivals, 0
        self.submitted: list[dict[str, Any]] = []

    def list_jobs(self) -> list[Any]:
        return [
            SimpleNamespace(submission_id=name, status=Status(status))
            for name, status in self.jobs.items()
        ]

    def get_job_info(self, job: str) -> Any:
        if job not in self.jobs:
            raise RuntimeError("in whatever words")
        return SimpleNamespace(submission_id=job, status=Status(self.jobs[job]))

    def submit_job(self, **job: Any) -> None:
        if self.rivals:
            self.rivals -= 1
            self.jobs[job["submission_id"]] = "RUNNING"
            raise RuntimeError("in whatever words")
        if self.starting:
            self.starting -= 1
            raise RuntimeError("in whatever words")
        self.jobs[job["submission_id"]] = "PENDING"
        self.submitted.append({**job, "files": files(Path(job["runtime_env"]["working_dir"]))})


class Status(str):
    def is_terminal(self) -> bool:
        return self in ("SUCCEEDED", "FAILED", "STOPPED")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    for module in (jobs, submission):
        monkeypatch.setattr(module, "job_client", lambda address: _within(found))
    monkeypatch.setattr(submission, "require_room", lambda *room: None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return found


class _within:
    def __init__(self, value: Cluster) -> None:
        self.value = value

    def __enter__(self) -> Cluster:
        return self.value

    def __exit__(self, *_: object) -> None:
        return None


def submit(*overrides: str) -> jobs.Submission:
    return submission.submit_run(DIGITS, ["workspace=/shared", *overrides], "http://head:8265")


def test_the_same_work_is_one_job_until_it_ends(cluster: Cluster) -> None:
    first = submit("train.lr=1e-3")
    assert first.began
    assert first.id.startswith("digits-")
    # However it is written.
    assert submit("train.lr=0.001") == jobs.Submission(first.id, False)
    assert submit("train.lr=2e-3").id != first.id
    for number, ended in ((2, "FAILED"), (3, "STOPPED"), (4, "SUCCEEDED")):
        cluster.jobs = dict.fromkeys(cluster.jobs, ended)
        assert submit("train.lr=1e-3") == jobs.Submission(f"{first.id}-{number}", True)
    (job, *_) = cluster.submitted
    assert job["entrypoint"] == "python -m pipeline run config.yaml workspace=/shared train.lr=1e-3"
    assert {"config.yaml", "bngan/training/trainer.py", "pipeline/cli/jobs.py"} <= job["files"]
    assert all(name.endswith(".py") for name in job["files"] - {"config.yaml"})
    assert set(job["runtime_env"]) == {"working_dir", "env_vars"}
    assert job["runtime_env"]["env_vars"] == {}


def test_of_two_at_once_one_begins(cluster: Cluster) -> None:
    cluster.rivals = 1
    assert not submit().began
    assert not cluster.submitted


def test_a_cluster_that_starts_is_waited_for_but_not_for_ever(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.starting = 1
    assert submit().began
    monkeypatch.setattr(jobs, "_CLUSTER_TIMEOUT_S", 1.5)
    cluster.starting = 100
    with pytest.raises(RuntimeError, match="in whatever words"):
        submit("seed=1")
    assert cluster.starting > 90


def test_a_partition_that_succeeded_is_not_submitted_again(cluster: Cluster) -> None:
    work = jobs.Work("nightly-2026-11-24T0300", DIGITS, ("schedule",), once=True)
    for ended, began in (("FAILED", True), ("SUCCEEDED", False)):
        jobs.submit(work, "http://head:8265")
        cluster.jobs = dict.fromkeys(cluster.jobs, ended)
        assert jobs.submit(work, "http://head:8265").began == began


def test_names_can_stand_in_a_url() -> None:
    assert jobs.job_name("Größe 1/2", "2026-11-24T0300") == "Gr-e-1-2-2026-11-24T0300"


def test_words_of_a_shell_stay_words(cluster: Cluster) -> None:
    submit("train.augment=[color, cutout]", "register.model=$(reboot)")
    assert cluster.submitted[0]["entrypoint"].endswith(
        "'train.augment=[color, cutout]' 'register.model=$(reboot)'"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["workspace=runs"], "workspace=runs is relative"),
        (["data.path=images"], "data.path=images is relative"),
        (["extractor.kind=file", "extractor.weights=x.pt2"], "extractor.weights=x.pt2 is relative"),
        (["workspace=s3://me:secret@host/runs"], "workspace has a login or key"),
        (["train.lr=-1"], "train.lr must be positive"),
        (["trian.lr=1"], "did you mean train.lr"),
    ],
)
def test_what_nodes_cannot_find_is_refused(
    cluster: Cluster, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError) as told:
        submit(*overrides)
    assert message in str(told.value)
    assert "secret" not in str(told.value)
    assert not cluster.jobs


def test_folders_of_the_cluster_need_not_be_here(cluster: Cluster) -> None:
    assert submit("data.path=/only/there").began


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://me:secret@host:5000", "MLFLOW_TRACKING_USERNAME"),
        ("sqlite:////home/me/mlflow.db", "is no server that nodes could reach"),
    ],
)
def test_only_a_servers_address_travels(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    submit()
    assert cluster.submitted[0]["runtime_env"]["env_vars"] == {
        "MLFLOW_TRACKING_URI": "http://host:5000"
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError) as told:
        submit("seed=1")
    assert message in str(told.value)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    ["head:8265", "ray://head:10001", "http://me:secret@head:8265", "http://head:x", "http://"],
)
def test_addresses_of_another_kind_are_refused(address: str) -> None:
    with pytest.raises(UserError, match="must be that of the dashboard"):
        submission.submit_run(DIGITS, ["workspace=/shared"], address)


def test_a_relative_workspace_is_refused_inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would vanish with the folder of the session that the job runs in."""
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(UserError, match="workspace=runs is relative"):
        load_config(DIGITS)
    assert load_config(DIGITS, ["workspace=/shared"]).workspace == "/shared"


class Log:
    """A cluster that tells a job's log whenever it is asked, and then no more."""

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for text in ("one\n", "two\n"):
            yield text

    def get_job_status(self, job: str) -> Any:
        raise RuntimeError("gone")


def test_a_log_is_told_once_and_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = list[str]()
    monkeypatch.setattr(jobs, "_CLUSTER_TIMEOUT_S", 1.5)
    with pytest.raises(RuntimeError, match="gone"):
        asyncio.run(jobs._show_log(Log(), "job", shown.append))
    assert shown == ["one\n", "two\n"]

    def closed(text: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        asyncio.run(jobs._show_log(Log(), "job", closed))


def test_a_secret_of_the_environment_in_a_command_or_its_file_is_not_shown_to_all(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_PLANTED")
    (file := tmp_path / "a.yaml").write_text(f"{DIGITS.read_text()}\n# hf_PLANTED\n")
    for path, override in ((DIGITS, "register.model=hf_PLANTED"), (file, "seed=1")):
        with pytest.raises(UserError, match="has a login, key or secret") as told:
            submission.submit_run(path, ["workspace=/shared", override], "http://head:8265")
        assert "PLANTED" not in str(told.value)
    assert cluster.submitted == []


def test_a_job_gets_the_variables_that_its_configuration_refers_to(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNGAN_LIMIT", "900")
    monkeypatch.setenv("BNGAN_OTHER", "x")
    submit("data.limit=${oc.env:BNGAN_LIMIT,500}", "seed=${oc.env:BNGAN_UNSET,3}")
    variables = cluster.submitted[0]["runtime_env"]["env_vars"]
    assert variables["BNGAN_LIMIT"] == "900"
    assert not {"BNGAN_OTHER", "BNGAN_UNSET"} & set(variables)
