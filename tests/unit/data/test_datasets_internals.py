"""The cache of the ``datasets`` that is installed is laid out as it is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import config

from bngan.data.datasets_internals import builder_of_cached, commit_of, source_urls

OLD, NEW = "0" * 40, "1" * 40


class Numbers(datasets.GeneratorBasedBuilder):
    """Stands for a dataset on the Hub, without the Hub."""

    VERSION = datasets.Version("0.0.0")

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=datasets.Features({"x": datasets.Value("int64")}))

    def _split_generators(self, _: Any) -> list[datasets.SplitGenerator]:
        return [datasets.SplitGenerator("train"), datasets.SplitGenerator("test")]

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, int]]]:
        for number in range(3 if self.hash == OLD else 5):
            yield number, {"x": number}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the two commits of ``o/n``, the newer one written last."""
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path)
    for commit in (OLD, NEW):
        given = {"repo_id": "o/n", "dataset_name": "n", "hash": commit}
        Numbers(cache_dir=str(tmp_path), **given).download_and_prepare()
    return tmp_path


@pytest.mark.parametrize(("commit", "rows"), [(OLD, 3), (NEW, 5)])
def test_tables_of_either_commit_are_read_without_the_hub(
    cache: Path, commit: str, rows: int
) -> None:
    builder = builder_of_cached("o/n", commit)
    assert commit_of(builder) == commit
    assert Path(builder.cache_dir).is_relative_to(cache)
    assert source_urls(builder) == set()
    builder.download_and_prepare()
    tables = builder.as_dataset()
    assert {name: len(table) for name, table in tables.items()} == {"train": rows, "test": rows}


def test_a_commit_that_is_not_there_is_not_replaced_by_another(cache: Path) -> None:
    for repository in ("o/n", "o/other", "other/n"):
        with pytest.raises(LookupError, match="is there 0 times"):
            builder_of_cached(repository, "2" * 40)


def test_a_builder_of_files_says_which(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    datasets.Dataset.from_dict({"x": [1]}).to_parquet(file)
    builder = datasets.load_dataset_builder(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert source_urls(builder) == {str(file)}
    assert len(commit_of(builder)) > 10


def test_a_copy_of_a_dataset_has_the_same_commits_and_tables_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path)
    for repository, name in (("o/MyImages", "my_images"), ("o/theirs", "theirs")):
        given = {"repo_id": repository, "dataset_name": name, "hash": OLD}
        Numbers(cache_dir=str(tmp_path), **given).download_and_prepare()
    for repository, name in (("o/MyImages", "my_images"), ("o/theirs", "theirs")):
        folder = Path(builder_of_cached(repository, OLD).cache_dir)
        assert folder.is_relative_to(tmp_path / f"o___{name}")
