"""What a job brings along: the code that runs here, and a configuration."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bngan
from bngan.serialization.manifest import digest

FILE = "config.yaml"
"""What the configuration is called where a job runs; its name here is nobody's business there."""


def _sources() -> Iterator[tuple[str, Path]]:
    """The code that runs here: names below the packages' common parent, and files."""
    for package in (Path(str(bngan.__file__)).parent, Path(__file__).parents[1]):
        for path in sorted(package.rglob("*.py")):
            yield str(path.relative_to(package.parent)), path


def code_digest() -> str:
    """Of every file that is uploaded but the configuration."""
    files = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _sources()}
    return digest(files)


@contextmanager
def working_folder(file: Path) -> Iterator[Path]:
    """What is uploaded: code and configuration."""
    with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
        folder = Path(temporary)
        for name, path in _sources():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
        shutil.copy(file, folder / FILE)
        yield folder
