"""What a job uploads."""

from pathlib import Path

import pytest

from pipeline.cluster import working_dir
from pipeline.cluster.working_dir import require_unchanged_code, working_folder
from pipeline.core.errors import UserError

pytestmark = pytest.mark.usefixtures("planted_secrets")

ROOT = Path(__file__).parents[3]


def test_nothing_of_the_environment_is_uploaded_for_a_job() -> None:
    with working_folder(ROOT / "configs/digits.yaml") as folder:
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert len(files) > 50
        assert not [file for file in files if b"PLANTED" in file.read_bytes()]


@pytest.mark.parametrize("change", ["edited", "removed", "added"])
def test_code_that_changes_meanwhile_is_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("1\n")
    monkeypatch.setattr(
        working_dir, "_sources", lambda: ((p.name, p) for p in sorted(tmp_path.iterdir()))
    )
    working_dir._digests.cache_clear()
    try:
        require_unchanged_code()
        with working_folder() as folder:
            assert sorted(p.name for p in folder.iterdir()) == ["a.py", "b.py"]
        if change == "edited":
            (tmp_path / "b.py").write_text("2\n")
        elif change == "removed":
            (tmp_path / "b.py").unlink()
        else:
            (tmp_path / "c.py").touch()
        with pytest.raises(UserError, match=r"[bc]\.py has changed since this command began"):
            require_unchanged_code()
        with pytest.raises(UserError), working_folder():
            pass
    finally:
        working_dir._digests.cache_clear()
