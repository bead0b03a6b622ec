"""What a job uploads."""

from pathlib import Path

import pytest

from pipeline.cluster.working_dir import working_folder

pytestmark = pytest.mark.usefixtures("planted_secrets")

ROOT = Path(__file__).parents[3]


def test_nothing_of_the_environment_is_uploaded_for_a_job() -> None:
    with working_folder(ROOT / "configs/digits.yaml") as folder:
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert len(files) > 50
        assert not [file for file in files if b"PLANTED" in file.read_bytes()]
