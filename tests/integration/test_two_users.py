"""Two users of a group share a workspace as docs/security.md says; neither has an entry in passwd."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import DIGITS
from tests.databases import DATABASE
from tests.integration.conftest import statuses
from tests.users import User, closed_to_group, needs_root, share, users

HITS = "cached cached cached cached cached"
SHORT = ("train.score_every=640", "train.batch_size=64")


def run(user: User, workspace: Path, *options: str) -> Any:
    return json.loads(
        user.bngan("run", DIGITS, "--json", f"workspace={workspace}", *SHORT, *options).stdout
    )


def aliases(user: User, workspace: Path) -> dict[str, str]:
    found = json.loads(user.bngan("models", "--json", "--workspace", workspace).stdout)
    return {alias: v["version"] for v in found["versions"] for alias in v["aliases"]}


@pytest.mark.full
@pytest.mark.timeout(1800)
@needs_root
def test_each_goes_on_with_what_the_other_has_made() -> None:
    with users(70001, 70002) as (first, second):
        here = share(first.home.parent / "workspace")
        assert statuses(run(first, here, "train.images=640")) == "ran ran ran ran ran"
        assert closed_to_group(here) == []
        more = run(second, here, "train.images=1280")
        assert statuses(more) == "cached cached ran ran ran"
        told = second.bngan("status", "--workspace", here).stdout
        assert told.index("of 70002 on") < told.index("of 70001 on")
        for user, number in ((second, 1), (first, 2)):
            user.bngan("promote", "bngan-digits", number, "--workspace", here)
            assert aliases(user, here)["champion"] == str(number)
        second.bngan("rollback", "bngan-digits", "--workspace", here)
        assert aliases(first, here)["champion"] == "1"
        picture = second.home / "grid.png"
        uri = "models:/bngan-digits/1"
        second.bngan("sample", uri, "--count", 4, "-o", picture, "--workspace", here)
        assert picture.stat().st_uid == 70002
        again = run(first, here, "train.images=1920")
        assert statuses(again) == "cached cached ran ran ran"
        assert closed_to_group(here) == []
        evaluated = here.glob("stages/evaluate/[!.]*")
        oldest = min(evaluated, key=lambda path: path.stat().st_mtime_ns)
        assert oldest.stat().st_uid == first.uid
        second.bngan("gc", "--delete", oldest.relative_to(here), "--workspace", here)
        assert not list(oldest.parent.glob(f"*{oldest.name}*"))
        assert statuses(run(second, here, "train.images=1920")) == HITS
        _refusals(first, second, here)


def _refusals(first: User, second: User, here: Path) -> None:
    """A umask that closes, and another's folder: a line, exit code 2, nothing written."""
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    own = first.home / "workspace"
    for command in (
        ("run", DIGITS, f"workspace={here}", "seed=3"),
        ("promote", "bngan-digits", 2, "--workspace", here),
    ):
        told = second.bngan(*command, umask=0o022, code=2).stderr
        assert told == (
            f"error: workspace: {here} is shared by a group, and umask 022 closes new files to it: "
            "run umask 002\n"
        )
    told = second.bngan("run", DIGITS, f"workspace={own}", code=2).stderr
    assert told.startswith(
        f"error: workspace: {first.home} cannot be written to (owner user 70001,"
    )
    told = second.bngan("models", "--workspace", own, code=2).stderr
    assert told.startswith(f"error: Permission denied: {own / DATABASE}: let its owner open it to")
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before
