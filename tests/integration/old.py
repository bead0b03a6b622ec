"""Commands on the old workspace."""

import json
import subprocess
from typing import Any

from tests.fixtures.old_workspace import PORTABLE, OldWorkspace
from tests.integration.conftest import bngan

NAME = "bngan-digits"
URI = f"models:/{NAME}@champion"


def call(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command, with the arithmetic that the fixture was made by."""
    return bngan(*arguments, code=code, timeout=600, **PORTABLE)


def answer(*arguments: str) -> dict[str, Any]:
    """The JSON object that a command prints."""
    found: dict[str, Any] = json.loads(call(*arguments, "--json").stdout)
    return found


def tags_of(old: OldWorkspace, version: str) -> dict[str, str]:
    """Tags of ``NAME/VERSION``."""
    tags: dict[str, str] = old.client.get_model_version(*version.split("/")).tags
    return tags
