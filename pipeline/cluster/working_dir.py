"""Give jobs and workers this process's code as their working directory, and check that they use it.

Ray would put the current folder first on the path of its workers, where a ``pipeline`` of the user, or
another copy of this project, could be. With a working directory it does not, and workers import these
files, unless a node puts others before them.
"""

import hashlib
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import bngan
from bngan.serialization.manifest import digest
from pipeline.core.errors import UserError

FILE = "config.yaml"
"""File name of the configuration inside a job's working directory."""


def _sources() -> Iterator[tuple[str, Path]]:
    """Yield this process's source files: names below the packages' common parent, and paths."""
    for package in (Path(str(bngan.__file__)).parent, Path(__file__).parents[1]):
        for path in sorted(package.rglob("*.py")):
            yield str(path.relative_to(package.parent)), path


@cache
def _digests() -> dict[str, str]:
    """Return the digest of each source file when this function was called first."""
    return _digests_now()


def _digests_now() -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _sources()}


def code_digest() -> str:
    """Return a digest of all uploaded files except the configuration."""
    return digest(_digests())


def require_unchanged_code() -> None:
    """Check that all source files are as they were when this was called first.

    This process has imported some of them, and its workers import all.

    Raises:
        UserError: with the name of a file that has changed.
    """
    before, now = _digests(), _digests_now()
    for name in sorted(before | now):
        if before.get(name) != now.get(name):
            raise UserError(
                f"{name} has changed since this command began, and its workers would run other code "
                "than it does itself: give the command again"
            )


def checked(function: Callable[..., Any]) -> Callable[..., tuple[str, Any]]:
    """Return ``function`` for workers, with a check of their code before its first call.

    The new function returns a problem and None, or "" and the result of ``function``. It may use
    nothing of this project outside itself: Ray would import that on the worker before the check.
    """
    from ray import cloudpickle

    packed: bytes = cloudpickle.dumps(function)  # type: ignore[no-untyped-call]
    expected, unpacked = _digests(), list[Any]()

    def problem() -> str:
        for package in ("bngan", "pipeline"):
            found = (spec := find_spec(package)) and spec.origin
            place = Path(found or f"no {package}")
            place = place.parent if place.name == "__init__.py" else place
            files = {f"{package}/{path.relative_to(place)}": path for path in place.rglob("*.py")}
            for name in sorted({n for n in expected if n.startswith(f"{package}/")} | files.keys()):
                path = files.get(name)
                if not path or hashlib.sha256(path.read_bytes()).hexdigest() != expected.get(name):
                    return (
                        f"{name} is not the one of this command on {socket.gethostname()}, where a "
                        f"worker imports {package} from {place}: take that off PYTHONPATH and the "
                        "paths of site-packages there, and start Ray there again"
                    )
        return ""

    def run(*arguments: Any) -> tuple[str, Any]:
        if not unpacked:
            if text := problem():
                return text, None
            unpacked.append(cloudpickle.loads(packed))
        return "", unpacked[0](*arguments)

    return run


@contextmanager
def working_folder(file: Path | None = None) -> Iterator[Path]:
    """Yield a temporary folder with the files to upload: code, and a configuration if given.

    Raises:
        UserError: if the code has changed since this process began.
    """
    with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
        folder = Path(temporary)
        for name, path in _sources():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
        require_unchanged_code()
        if file:
            shutil.copy(file, folder / FILE)
        yield folder
