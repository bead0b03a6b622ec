"""Read arrays from npz files that are not trusted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

_ERRORS = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile),
    *(NotImplementedError, RuntimeError),
)
"""Errors of numpy and zipfile about a file that is something else."""


@contextmanager
def opened_arrays(file: Path, what: str) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield the arrays of a file by name; each is read when it is asked for.

    Args:
        file: file that ``np.savez`` wrote.
        what: name of the content, for the message.

    Raises:
        ValueError: if the file holds no arrays, or the block raises an error of the kind that wrong
            content causes; the message names the file.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except _ERRORS as error:
        raise ValueError(f"{file.name} holds no {what}: {error}") from error
