"""What nobody but its owner is to see: passwords in text, tokens and workspaces on the disk."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from bngan.metrics import pretrained
from pipeline.cli.models import serve
from pipeline.cluster.jobs import DEFAULT_ADDRESS
from pipeline.cluster.working_dir import working_folder
from pipeline.core import environment
from pipeline.core.uris import redact
from pipeline.tracking.server import reason
from pipeline.tracking.tracker import Tracker

ROOT = Path(__file__).parents[3]


def export(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "AWS_SECRET_ACCESS_KEY": "aws/PLANTED+1",
        "MLFLOW_TRACKING_PASSWORD": "mlflow-PLANTED",
        "HF_TOKEN": "hf_PLANTED",
        "BNGAN_WEBHOOK": "https://hooks/PLANTED-path",
        "SOME_DATABASE": "postgresql://me:data-PLANTED@host/x",
        "RAY_AUTH_TOKEN_PATH": "/home/me/token",
        "SIGNING_KEY": "sign-PLANTED",
        "SSH_PRIVATEKEY": "ssh-PLANTED",
        "DATABASE_PASSWORD": "20261128",
        "SHORT_TOKEN": "a",
        "EMPTY_TOKEN": "",
    }
    export(monkeypatch, given)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("HTTP 401 of http://me:PLANTED@host:5000/api: no", "HTTP 401 of http://host:5000/api: no"),
        ("https://PLANTED@host and ftp://me:PLANTED@host", "https://host and ftp://host"),
        ('{"uri": "postgresql://me:SEC@RET?@host/db"}', '{"uri": "postgresql://host/db"}'),
        ("s3://b/x?secret_key=PLANTED&region=eu", "s3://b/x?secret_key=***&region=eu"),
        ("http://h/?a=1&Token=PLANTED#x 'http://h/?sig=PLANTED'", "http://h/?a=1&Token=***#x 'http://h/?sig=***'"),
        ("key aws/PLANTED+1, in a URI aws%2FPLANTED%2B1", "key ***, in a URI ***"),
        ("mlflow-PLANTED hf_PLANTED https://hooks/PLANTED-path data-PLANTED", "*** *** *** ***"),
        ("signed sign-PLANTED ssh-PLANTED 20261128", "signed *** *** ***"),
        ("abfs://container@account/x sqlite:////home/me@work/x", None),
        ("a token at /home/me/token, me@host", None),
        ("", None),
    ],
)  # fmt: skip
def test_text_is_shown_without_secrets(text: str, seen: str | None) -> None:
    assert redact(text) == (text if seen is None else seen)


def test_what_only_sounds_like_a_secret_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "TOKENIZERS_PARALLELISM": "false",
        "SOME_TOKEN": "disabled",
        "MAX_TOKENS_WANTED": "configuration",
        "KEYBOARD_LAYOUT": "configuration",
        "API_KEY": "100000000",
        "ASK_FOR_PASSWORD": "disabled",
    }
    export(monkeypatch, given)
    text = "flip: false, disabled: 100000000, configuration"
    assert redact(text) == text


def test_a_traceback_is_shown_without_secrets() -> None:
    script = "me = 'me:mlflow-PLANTED'\nraise OSError(f'http://{me}@host refuses hf_PLANTED')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "PLANTED" in done.stderr
    assert "PLANTED" not in redact(done.stderr)
    assert "OSError: http://host refuses ***" in redact(done.stderr)


def test_what_mlflow_is_told_and_says_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker, told = Tracker(tmp_path, "x"), "http://me:PLANTED@h hf_PLANTED mlflow-PLANTED"
    run = tracker.start("x", {"first": told})
    tracker.tags(run, {"second": told})
    tracker.params(run, {"data.path": told})
    tracker.dataset(run, told, "0" * 64, "train")
    tracker.artifact(run, "config.yaml", told.encode())
    tracker.artifact(run, "x.png", b"\x89PNG\xff")
    client = MlflowClient(tracker.uri)
    path = client.download_artifacts(run, "config.yaml", str(tmp_path))
    assert Path(path).read_text() == "http://h *** ***"
    picture = client.download_artifacts(run, "x.png", str(tmp_path))
    assert Path(picture).read_bytes() == b"\x89PNG\xff"
    assert client.get_run(run).data.params == {"data.path": "http://h *** ***"}
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 3
    assert not [file for file in files if b"PLANTED" in file.read_bytes()]
    assert reason(MlflowException(f"no answer of {told}")) == "no answer of http://h *** ***"


def test_nothing_of_the_environment_is_uploaded_for_a_job() -> None:
    with working_folder(ROOT / "configs/digits.yaml") as folder:
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert len(files) > 50
        assert not [file for file in files if b"PLANTED" in file.read_bytes()]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    return tmp_path


def test_a_token_is_for_its_owner_alone(home: Path) -> None:
    environment.own_token()
    token = home / ".ray" / "auth_token"
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    made = token.read_text()
    assert len(made) == 64
    token.chmod(0o644)  # as Ray writes it
    environment.own_token()
    assert (mode(token), token.read_text()) == (0o600, made)


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"])
def test_a_token_that_is_elsewhere_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "disabled")
    environment.own_token()
    assert list(home.iterdir()) == []


def test_a_workspace_is_for_its_owner_unless_somebody_made_it_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = os.umask(0o022)
    try:
        Tracker(tmp_path / "mine" / "runs", "x")
        assert mode(tmp_path / "mine" / "runs") == 0o700
        (tmp_path / "ours").mkdir()
        (tmp_path / "ours").chmod(0o770)
        Tracker(tmp_path / "ours", "x")
        assert mode(tmp_path / "ours") == 0o770
    finally:
        os.umask(before)


def test_defaults_are_the_safe_ones() -> None:
    names = ("MLFLOW", "RAY", "HF_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(names)}
    script = "import json, os; from pipeline.core.environment import set_defaults; set_defaults()"
    script += "; print(json.dumps(dict(os.environ)))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=clean, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert {name: found[name] for name in found if name in SAFE} == SAFE
    assert inspect.signature(serve).parameters["host"].default == "127.0.0.1"
    assert DEFAULT_ADDRESS.startswith("http://127.0.0.1:")


SAFE = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "RAY_AUTH_MODE": "token",
}


def test_weights_that_somebody_put_in_the_place_of_inceptions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    (place / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"evil")
    with pytest.raises(ValueError, match="is not Inception's weights: its hash is another"):
        pretrained.inception((3, 32, 32), None)
