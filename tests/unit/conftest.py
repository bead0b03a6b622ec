"""Fixtures that several rooms' tests share."""

import pytest


@pytest.fixture
def planted_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with secrets in it; what is PLANTED must be seen nowhere."""
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
    for name, value in given.items():
        monkeypatch.setenv(name, value)
