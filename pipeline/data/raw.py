"""Open raw images for a stage or a schedule, with errors that name the key."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bngan.data.hub import TooLarge
from bngan.data.layout import SourceSplit
from bngan.data.source import ReadOptions, Source
from bngan.data.sources import open_source
from pipeline.core.errors import RetryableError, UserError


@contextmanager
def opened(
    path: str, max_download_gb: float, options: ReadOptions
) -> Iterator[dict[SourceSplit, Source]]:
    """Yield the sources that ``open_source`` gives; their cache lasts as long as the block.

    Raises:
        UserError: naming the key that is wrong; ``RetryableError`` if the Hub does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="bngan-") as cache:
        most = max_download_gb * 1e9
        try:
            sources = open_source(path, Path(cache), options, most)
        except TooLarge as error:
            raise UserError(f"data.max_download_gb: {error}") from error
        except ConnectionError as error:
            raise RetryableError(f"data.path: {error}") from error
        except ValueError as error:
            raise UserError(f"data.path: {error}") from error
        yield sources
