"""An MLflow server that goes away in the middle of a command: a line, and exit code 3."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app

CONFIG = str(Path(__file__).parents[3] / "configs" / "digits.yaml")
COMMANDS = [
    ["models"],
    ["models", "digits"],
    ["promote", "digits", "1"],
    ["status"],
    ["reap"],
    ["gc"],
    ["sample", "models:/digits/1"],
    ["sample", "models:/digits@champion"],
    ["evaluate", "models:/digits/1"],
    ["compare", "models:/digits/1", "models:/digits/2"],
    ["serve", "models:/digits/1"],
    ["run", CONFIG],
]


class Lost(BaseHTTPRequestHandler):
    """Answers whether it is there, and nothing from then on."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        there = self.path.endswith("experiments/search?max_results=1")
        self.send_response(200 if there else 503)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Lost) as lost:
        threading.Thread(target=lost.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{lost.server_port}"
        lost.shutdown()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_server_that_is_lost_is_a_line(
    command: list[str], server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 3, done.output
    (line,) = done.stderr.splitlines()
    assert "too many 503 error responses" in line
    assert len(line) < 250
    assert "Max retries" not in line
