"""Defaults of the environment, and tokens."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.models import serve
from pipeline.cluster.jobs import DEFAULT_ADDRESS
from pipeline.core import environment
from tests.unit.tracking.test_tracker import mode

pytestmark = pytest.mark.usefixtures("planted_secrets")

ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (None, None),
        ("", None),
        ("local", None),
        ("auto", "auto"),
        ("10.0.0.1:6379", "10.0.0.1:6379"),
        (" ", " "),  # no address, and said to be none
    ],
)
def test_which_cluster_there_is_to_be(
    given: str | None, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if given is not None:
        monkeypatch.setenv("RAY_ADDRESS", given)
    assert environment.cluster_address() == address


def test_the_security_of_an_existing_cluster_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", {"RAY_ADDRESS": "auto", "RAY_AUTH_MODE": ""})
        environment.set_defaults()
        assert "RAY_AUTH_MODE" not in os.environ
        assert os.environ["RAY_ADDRESS"] == "auto"


@pytest.mark.parametrize(
    "given",
    [
        {},
        # What a shell or a notebook hands on, and what would change what runs.
        {
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
            "RAY_TRAIN_V2_ENABLED": "0",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "NVIDIA_TF32_OVERRIDE": "1",
            "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
        },
        # Each of these values means a cluster of our own.
        {"RAY_ADDRESS": "", "RAY_AUTH_MODE": "", "RAY_TMPDIR": "", "TMPDIR": ""},
        {"RAY_ADDRESS": "local"},
    ],
)
def test_defaults_are_the_safe_ones(given: dict[str, str]) -> None:
    names = ("MLFLOW", "RAY", "HF_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(names)}
    clean |= given
    script = "import json, os; from pipeline.core.environment import set_defaults; set_defaults()"
    script += "; print(json.dumps(dict(os.environ)))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=clean, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert {name: found[name] for name in found if name in SAFE} == SAFE
    assert not [name for name in found if "TF32" in name]
    assert not [name for name in found if name.startswith(("RAY_", "TMPDIR")) and not found[name]]
    assert inspect.signature(serve).parameters["host"].default == "127.0.0.1"
    assert DEFAULT_ADDRESS.startswith("http://127.0.0.1:")


SAFE = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_TRAIN_V2_ENABLED": "1",
    "MPLBACKEND": "agg",
}


def test_a_home_that_cannot_be_written_to_needs_no_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("HOME", str(home / "file"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    environment.own_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.parametrize(
    "settings",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
        {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    ],
)
def test_text_is_utf8_under_every_locale(settings: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import json, locale, os, sys\n"
        "from pipeline.core.environment import require_utf8\n"
        "require_utf8()\n"
        "print(json.dumps([sys.argv[1:], locale.getpreferredencoding(), os.listdir('.')]))\n"
    )
    (tmp_path / "é").touch()
    command = [sys.executable, str(script), "ü"]
    given = {**os.environ, **settings}
    done = subprocess.run(command, env=given, cwd=tmp_path, capture_output=True, check=True)
    arguments, encoding, names = json.loads(done.stdout)
    assert (arguments, encoding.lower()) == (["ü"], "utf-8")
    assert "é" in names
