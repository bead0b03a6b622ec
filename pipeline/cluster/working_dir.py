"""The working directory of a job: the code of this process, and a configuration."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bngan
from bngan.serialization.manifest import digest

FILE = "config.yaml"
"""File name of the configuration inside a job's working directory."""


def _sources() -> Iterator[tuple[str, Path]]:
    """Yield this process's source files: names below the packages' common parent, and paths."""
    for package in (Path(str(bngan.__file__)).parent, Path(__file__).parents[1]):
        for path in sorted(package.rglob("*.py")):
            yield str(path.relative_to(package.parent)), path


def code_digest() -> str:
    """Return a digest of all uploaded files except the configuration."""
    files = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _sources()}
    return digest(files)


@contextmanager
def working_folder(file: Path) -> Iterator[Path]:
    """Yield a temporary folder with the files to upload: code and configuration."""
    with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
        folder = Path(temporary)
        for name, path in _sources():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
        shutil.copy(file, folder / FILE)
        yield folder
