"""What several processes do at once in one workspace, and what a study leaves open there."""

import os
import stat
from pathlib import Path

import pytest

from pipeline.core.errors import RetryableError
from pipeline.core.lock import OWNER, exclusive_lock, parse_attempt, shared_lock
from pipeline.storage.workspace import Workspace


def test_a_lock_says_whose_it_is(tmp_path: Path) -> None:
    with (
        exclusive_lock(tmp_path, "it") as attempt,
        pytest.raises(
            RetryableError,
            match=rf"^the thing is locked by process {os.getpid()} \(\S+@\S+\) since \d{{4}}-\S+$",
        ),
        exclusive_lock(tmp_path, "the thing"),
    ):
        pass
    assert parse_attempt((tmp_path / OWNER).read_text()) == attempt
    assert parse_attempt("no JSON") is None


def test_a_lock_can_be_shared_by_all_but_an_owner(tmp_path: Path) -> None:
    with shared_lock(tmp_path, "it"), shared_lock(tmp_path, "it"), pytest.raises(RetryableError):
        exclusive_lock(tmp_path, "it").__enter__()
    with exclusive_lock(tmp_path, "it"), pytest.raises(RetryableError, match="it is locked by pro"):
        shared_lock(tmp_path, "it").__enter__()


@pytest.mark.parametrize("there", [False, True])
def test_a_workspace_is_its_users_alone_unless_somebody_shares_it(
    there: bool, tmp_path: Path
) -> None:
    workspace = tmp_path / "w"
    if there:
        workspace.mkdir(mode=0o750)
    Workspace(str(workspace)).write("a/b", b"")
    assert stat.S_IMODE(workspace.stat().st_mode) == (0o750 if there else 0o700)
