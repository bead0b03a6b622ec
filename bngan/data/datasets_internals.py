"""Undocumented parts of ``datasets``: the names and the reading of its cache."""

from pathlib import Path
from typing import Any


def builder_of_cached(repository: str, commit: str) -> Any:
    """Return a builder of the tables that the cache has of a dataset at a commit.

    ``datasets`` by itself would take the newest tables, of any commit.

    Args:
        repository: ``OWNER/NAME`` on the Hub.
        commit: 40 hexadecimal digits.

    Raises:
        LookupError: unless the cache has exactly one such table set.
    """
    from datasets import config
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    owner, name = repository.split("/")
    cache = Path(config.HF_DATASETS_CACHE).expanduser()
    tables = cache / f"{owner}___{camelcase_to_snakecase(name)}"
    folders = [folder.parts for folder in tables.glob(f"*/*/{commit}")]
    if len(folders) != 1:
        raise LookupError(f"commit {commit} is there {len(folders)} times")
    *_, configuration, version, _ = folders[0]
    return Cache(
        repo_id=repository,
        dataset_name=name,
        config_name=configuration,
        version=version,
        hash=commit,
    )


def commit_of(builder: Any) -> str:
    """Return the commit that a builder of a dataset on the Hub makes tables of."""
    return str(builder.hash)


def source_urls(builder: Any) -> set[str]:
    """Return the addresses of the files that a builder makes tables of; empty for cached tables."""
    return {str(url) for files in (builder.config.data_files or {}).values() for url in files}
