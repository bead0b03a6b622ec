"""Open raw images for a stage or a schedule, with errors that name the key."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bngan.data.dataset import UNLABELLED, Split
from bngan.data.hub import TooLarge
from bngan.data.source import ReadOptions, Source
from bngan.data.sources import open_source
from bngan.data.split_names import SourceSplit
from pipeline.core.errors import RetryableError, UserError

TEST_SPLITS: tuple[SourceSplit, ...] = ("test", "validation")
"""Splits of the data that may be tested on, the better one first."""


@dataclass(frozen=True)
class RawImages:
    """Raw images with their classes.

    Attributes:
        sources: a source for each split of the data.
        classes: class of each image, int64 ``(N,)``, or ``UNLABELLED``, by split of the data.
    """

    sources: dict[SourceSplit, Source]
    classes: dict[SourceSplit, np.ndarray]

    @property
    def test(self) -> SourceSplit | None:
        """Return the split of the data to test on; None takes a share of the training split."""
        return next((split for split in TEST_SPLITS if split in self.sources), None)

    def source_of(self, split: Split) -> SourceSplit:
        """Return the split of the data that has the images of a prepared split."""
        return self.test if split == "test" and self.test else "train"

    @property
    def origins(self) -> dict[str, str]:
        """Return the prepared split that each name in the data makes."""
        made = {self.sources["train"].origin: "train"}
        return made | ({self.sources[self.test].origin: "test"} if self.test else {})

    def candidates(self, labelled: bool) -> dict[SourceSplit, np.ndarray]:
        """Return the indices of all images that may be used, by split of the data.

        ``labelled`` is whether images without a class are left out.
        """
        return {
            split: np.flatnonzero((self.classes[split] != UNLABELLED) | (not labelled))
            for split in dict.fromkeys((self.source_of("train"), self.source_of("test")))
        }


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
