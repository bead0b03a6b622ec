"""What nobody but its owner is to see: passwords in text, tokens and workspaces on the disk."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.uris import local_path, redact


def export(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


pytestmark = pytest.mark.usefixtures("planted_secrets")


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


@pytest.mark.parametrize("name", ["a b", "a%20b", "a#b?c", "\u00e4", "a:b"])
def test_a_path_is_the_same_as_its_uri(name: str) -> None:
    path = Path("/x") / name / "y"
    assert local_path(path.as_uri()) == local_path(str(path)) == path


@pytest.mark.parametrize("uri", ["s3://b/x", "mlflow-artifacts:/1/models", "dbfs:/x", "http://h/x"])
def test_other_uris_are_no_paths(uri: str) -> None:
    assert local_path(uri) is None
