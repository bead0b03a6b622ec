"""Copy the library's source code, which travels with a registered model."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bngan


@contextmanager
def library_code() -> Iterator[Path]:
    """Yield a folder with a copy of ``bngan`` that can be written to.

    MLflow copies folders with their permissions, and fails where the installed ones are read-only.
    """
    installed = Path(str(bngan.__file__)).parent
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / installed.name
        for path in installed.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                target = copy / path.relative_to(installed)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        yield copy
