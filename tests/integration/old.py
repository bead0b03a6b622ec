"""Commands on the old workspace."""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

from tests.commands import Output, bngan
from tests.fixtures.old_workspace import PORTABLE, OldWorkspace
from tests.processes import process_with

NAME = "bngan-digits"
URI = f"models:/{NAME}@champion"


@cache
def _process() -> ProcessPoolExecutor:
    """With the arithmetic that the fixture was made by."""
    return process_with(**PORTABLE)


def call(*arguments: str, code: int = 0) -> Output:
    """A command, in a process with the fixture's arithmetic."""
    return _process().submit(bngan, *arguments, code=code).result()


def answer(*arguments: str) -> dict[str, Any]:
    """The JSON object that a command prints."""
    found: dict[str, Any] = json.loads(call(*arguments, "--json").stdout)
    return found


def tags_of(old: OldWorkspace, version: str) -> dict[str, str]:
    """Tags of ``NAME/VERSION``."""
    tags: dict[str, str] = old.client.get_model_version(*version.split("/")).tags
    return tags
