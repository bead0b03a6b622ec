"""URIs: what they name, and what they may show to whoever sees jobs, logs or MLflow."""

import re
from functools import lru_cache
from typing import Any

from pipeline.errors import UserError

REGISTERED = "models:/"
"""What the address of a registered model begins with."""
_SECRET = re.compile(
    r"https?://[^/?#]*@"  # a user is half of a login there; abfs:// has its container before the @
    r"|://[^/?#@]*:[^/?#]*@"
    r"|[?&][^=&#]*(secret|password|token|key|sig)[^=&#]*=",
    re.IGNORECASE,
)


def is_uri(text: str) -> bool:
    """Whether it is no folder's path."""
    return "://" in text


def carries_secret(uri: str) -> bool:
    """Whether a URI has a login, or a query that looks like a key."""
    return bool(_SECRET.search(uri))


@lru_cache
def filesystem_of(uri: str) -> tuple[Any, str]:
    """The file system of a URI, pyarrow's or in its coat fsspec's, and the path in it.

    Raises:
        UserError: if there is none.
    """
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        found: tuple[Any, str] = FileSystem.from_uri(uri)
    except (ValueError, OSError) as unknown:  # pyarrow.lib.ArrowInvalid is a ValueError
        import fsspec

        try:
            filesystem, path = fsspec.core.url_to_fs(uri)
        except Exception:  # whatever a foreign file system has against it
            shown = uri.split("?")[0]
            reason = str(unknown).replace(uri, shown)
            raise UserError(f"workspace: {shown} cannot be opened: {reason}") from unknown
        found = PyFileSystem(FSSpecHandler(filesystem)), path
    return found
