"""Datasets on the Hugging Face Hub: the commit of a name, the size of a download, the tables.

Downloaded files lie in the Hub's cache, and their tables in the cache of ``datasets``, by commit.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bngan.data.datasets_internals import builder_of_cached, commit_of, source_urls
from bngan.data.folder import nearest_existing_parent
from bngan.serialization.problem import first_line, one_line

if TYPE_CHECKING:  # takes seconds to import
    import datasets


HUB_PREFIX = "hub:"
_NAME = re.compile(r"hub:(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./+-]*))?", re.ASCII)
_AT_ONCE = 500
"""Number of files whose sizes one request asks for."""
_BUSY = {429, 500, 502, 503, 504}
"""HTTP statuses after which the same request may work later."""


class TooLarge(ValueError):
    """More bytes would be downloaded than are allowed."""


@dataclass(frozen=True)
class HubName:
    """Parts of a name ``hub:OWNER/NAME@REVISION``.

    Attributes:
        repository: ``OWNER/NAME``.
        revision: a branch, tag or commit; None is the default branch.
    """

    repository: str
    revision: str | None

    @classmethod
    def parse(cls, path: str) -> "HubName":
        """Return the parts of a name. Raises ``ValueError`` if no dataset can have it."""
        match = _NAME.fullmatch(path)
        if not match or ".." in path or "--" in match[1]:
            raise ValueError(
                f"write hub:OWNER/NAME or hub:OWNER/NAME@REVISION, not {one_line(path)}"
            )
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return HUB_PREFIX + self.repository + (f"@{self.revision}" if self.revision else "")


def pinned(path: str, commit: str | None) -> str:
    """Return a name of the same data for ever: ``path`` with its commit, if it has one."""
    return path if commit is None else str(HubName(HubName.parse(path).repository, commit))


def load(path: str, most: float) -> "tuple[dict[str, datasets.Dataset], str]":
    """Return the tables of a dataset by split, and their commit.

    With ``HF_HUB_OFFLINE`` set, the tables come from the cache of ``datasets``, without any
    request.

    Args:
        path: ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION``.
        most: bytes that may be downloaded.

    Raises:
        TooLarge: if there is more to download; the error comes before any download.
        ConnectionError: if the Hub does not answer.
        ValueError: if there is no such dataset, it may not be read, or there is no room for it.
    """
    from datasets import config

    name = HubName.parse(path)
    with _explained(name):
        commit = _commit(name, config.HF_HUB_OFFLINE)
        look = builder_of_cached if config.HF_HUB_OFFLINE else _offered
        builder = look(name.repository, commit)
        there = os.path.isdir(builder.cache_dir)
        table, missing = (0, 0) if there else _sizes(builder, name.repository, commit)
    if missing > most:
        sizes = f"{_readable(missing)} to download, and {_readable(most)} are allowed"
        raise TooLarge(f"{name} (commit {commit}) has {sizes}")
    _require_room(name, table, missing)
    with _explained(name):
        builder.download_and_prepare()
        return dict(builder.as_dataset()), commit


def _commit(name: HubName, offline: bool) -> str:
    """Return the commit of a name; offline, the commit that the Hub last gave for it."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    options: dict[str, Any] = {"repo_type": "dataset", "revision": name.revision}
    if not offline:
        # This request fails if the dataset or the revision does not exist or may not be read.
        with suppress(RemoteEntryNotFoundError):
            get_hf_file_metadata(hf_hub_url(name.repository, "README.md", **options))
    return HfApi().resolve_revision(name.repository, **options, local_files_only=offline).resolved


def _offered(repository: str, commit: str) -> Any:
    """Return a builder of tables from the files at the Hub."""
    from datasets import load_dataset_builder

    # Without hf://, a local folder of that name would be taken for the dataset.
    builder = load_dataset_builder(f"hf://datasets/{repository}", revision=commit)
    # If the Hub gives no files, datasets takes any commit that its cache has.
    if (taken := commit_of(builder)) != commit:
        raise ConnectionError(f"only commit {taken} can be had, not {commit}")
    return builder


def _sizes(builder: Any, repository: str, commit: str) -> tuple[int, int]:
    """Return the bytes of the tables' source files, and of those that are not in the cache yet."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    paths = sorted(url.partition(f"@{commit}/")[2] for url in source_urls(builder))
    options: dict[str, Any] = {"repo_type": "dataset", "revision": commit}
    total = missing = 0
    for start in range(0, len(paths), _AT_ONCE):
        some = paths[start : start + _AT_ONCE]
        for file in cast(list[Any], HfApi().get_paths_info(repository, some, **options)):
            total += file.size
            cached = try_to_load_from_cache(repository, file.path, **options)
            missing += 0 if isinstance(cached, str) else file.size
    return total, missing


def _require_room(name: HubName, table: int, missing: int) -> None:
    """Raise ``ValueError`` if ``missing`` bytes of files or ``table`` of tables have no room."""
    from datasets import config
    from huggingface_hub import constants

    needed, places = Counter[int](), dict[int, Path]()
    for cache, size in ((constants.HF_HUB_CACHE, missing), (config.HF_DATASETS_CACHE, table)):
        there = nearest_existing_parent(Path(cache).expanduser().absolute())
        needed[device := there.stat().st_dev] += size
        places[device] = there
    for device, size in needed.items():
        if (free := shutil.disk_usage(places[device]).free) < size:
            raise ValueError(
                f"{name} takes {_readable(size)} at {places[device]}, and {_readable(free)} are free "
                "there: make room, or set HF_HOME to another folder"
            )


def _readable(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


@contextmanager
def _explained(name: HubName) -> Iterator[None]:
    """Turn errors of ``datasets`` and ``huggingface_hub``, which have no common base, into ours."""
    try:
        yield
    except Exception as error:
        raise _explanation(name, error) from error


def _explanation(name: HubName, error: Exception) -> Exception:
    from datasets import config
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    behind = list(_behind(error))
    answers = {e.response.status_code for e in behind if isinstance(e, errors.HfHubHTTPError)}
    reason = first_line(error.__cause__ or error)

    def met(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in behind)

    if config.HF_HUB_OFFLINE:
        return ValueError(
            f"{name} is not in the cache of datasets, and HF_HUB_OFFLINE is set ({reason}): unset it"
        )
    if met(errors.GatedRepoError):
        page = f"{config.HF_ENDPOINT}/datasets/{name.repository}"
        return ValueError(f"{name} is gated: ask for access at {page}, and set HF_TOKEN")
    if met(errors.RevisionNotFoundError):
        return ValueError(f"{name}: there is no such branch, tag or commit")
    if met(errors.RepositoryNotFoundError) or answers & {401, 403}:
        return ValueError(f"there is no {name} on the Hub; if it is private, set HF_TOKEN")
    if met(ConnectionError, TimeoutError, httpx.TransportError) or answers & _BUSY:
        return ConnectionError(
            f"the Hub does not answer ({reason}): try later, or set HF_HUB_OFFLINE=1 to take {name} "
            "from the cache of datasets"
        )
    return ValueError(f"cannot read {name}: {reason}")


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
