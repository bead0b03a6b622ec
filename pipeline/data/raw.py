"""Raw images opened for a stage or a schedule, and what a person is told where they cannot be."""

from pathlib import Path

from bngan.data.hub import TooLarge
from bngan.data.sources import Source, open_source
from pipeline.core.errors import RetryableError, UserError


def opened(
    path: str,
    cache: Path,
    max_download_gb: float,
    image_column: str | None = None,
    label_column: str | None = None,
) -> dict[str, Source]:
    """What ``open_source`` gives.

    Raises:
        UserError: naming the key that is wrong; ``RetryableError`` if the Hub does not answer.
    """
    try:
        return open_source(path, cache, image_column, label_column, max_download_gb * 1e9)
    except TooLarge as error:
        raise UserError(f"data.max_download_gb: {error}") from error
    except ConnectionError as error:
        raise RetryableError(f"data.path: {error}") from error
    except ValueError as error:
        raise UserError(f"data.path: {error}") from error
