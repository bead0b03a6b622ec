"""Ray's names are those of the Ray that is installed, and its client says what a cluster answers."""

import importlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray._private import ray_constants
from ray._private.runtime_env import constants
from ray._private.services import find_gcs_addresses, get_node_ip_address
from ray.exceptions import AuthenticationError, RayTaskError
from ray.job_submission import JobSubmissionClient
from ray.train import ControllerError, WorkerGroupError

from pipeline.core.ray_internals import (
    JOB_ENVIRONMENT,
    TALKATIVE_LOGGERS,
    inner_error,
    is_job_known,
    on_loopback,
    running_cluster,
)


class _Dashboard(BaseHTTPRequestHandler):
    """As the head answers: it knows one job, its agents have not started, and one job is secret."""

    def do_GET(self) -> None:
        if self.path == "/api/version":
            self.say(200, {"version": "4", "ray_version": "2.60.0", "ray_commit": ""})
        elif self.path == "/api/jobs/known":
            self.say(200, {"type": "SUBMISSION", "status": "RUNNING", "entrypoint": "x"})
        elif self.path == "/api/jobs/secret":
            self.say(403, "Forbidden")
        else:
            self.say(404, "Job does not exist")

    def do_POST(self) -> None:
        self.say(500, "some words")

    def say(self, status: int, what: Any) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def client() -> Iterator[JobSubmissionClient]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Dashboard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield JobSubmissionClient(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_only_a_cluster_that_starts_in_the_block_is_on_the_loopback_interface() -> None:
    before = ray_constants.ENABLE_RAY_CLUSTER
    with on_loopback():
        assert get_node_ip_address() == "127.0.0.1"
    assert ray_constants.ENABLE_RAY_CLUSTER is before is True


def test_a_job_is_known_or_not(client: JobSubmissionClient) -> None:
    assert is_job_known(client, "known")
    assert not is_job_known(client, "other")


def test_a_submission_that_is_turned_down_is_a_runtime_error(client: JobSubmissionClient) -> None:
    with pytest.raises(RuntimeError):
        client.submit_job(entrypoint="true", submission_id="x")


def test_a_missing_token_is_an_error_of_its_own(client: JobSubmissionClient) -> None:
    with pytest.raises(AuthenticationError) as caught:
        client.get_job_info("secret")
    assert not isinstance(caught.value, RuntimeError)
    assert caught.value.message.startswith("Authentication failed")


def test_the_error_of_a_task_a_worker_or_the_controller_holds_its_cause() -> None:
    cause, lost = ValueError("deep"), ConnectionError("another worker is gone")
    task = RayTaskError("worker", "Traceback", cause)
    assert inner_error(task) is cause
    assert inner_error(WorkerGroupError("failed", {0: lost, 1: task})) is task
    assert inner_error(WorkerGroupError("failed", {0: lost})) is lost
    assert inner_error(ControllerError(cause)) is cause
    assert inner_error(cause) is None


@pytest.mark.parametrize("name", TALKATIVE_LOGGERS)
def test_loggers_that_talk_too_much_are_those_of_modules(name: str) -> None:
    module = importlib.import_module(name)
    loggers = [getattr(module, each, None) for each in ("logger", "default_logger")]
    assert name in [found.name for found in loggers if found]


def test_the_driver_of_a_job_is_known_by_its_environment() -> None:
    assert constants.RAY_JOB_CONFIG_JSON_ENV_VAR == JOB_ENVIRONMENT


@pytest.mark.parametrize(
    ("processes", "file", "found"),
    [
        ([], None, None),
        ([["raylet", "--gcs-address=10.1.2.3:6379"]], None, "10.1.2.3:6379"),
        ([], "10.1.2.4:6379", "10.1.2.4:6379"),  # as a node that was killed leaves it
    ],
)
def test_a_cluster_on_this_machine_is_found(
    processes: list[list[str]],
    file: str | None,
    found: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "psutil.process_iter",
        lambda *_: [SimpleNamespace(info={"cmdline": command}) for command in processes],
    )
    find_gcs_addresses.cache_clear()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    if file:
        (tmp_path / "ray" / "ray_current_cluster").write_text(file)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    try:
        assert running_cluster() == found
    finally:
        find_gcs_addresses.cache_clear()
