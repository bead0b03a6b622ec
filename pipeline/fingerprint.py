"""What a stage's result depends on, kept in parts so that a change can be named."""

import ast
import hashlib
import importlib.util
import inspect
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.config import Config, flatten
from pipeline.manifest import digest, outputs_digest
from pipeline.stage import Stage

_LIBRARIES = ("torch", "numpy", "datasets", "scikit-learn", "pillow")


@dataclass(frozen=True)
class Fingerprint:
    """Identity of a stage's work: equal fingerprints, equal results."""

    code: dict[str, str]
    """Digest of each source file the stage consists of, and the versions of what it builds on."""
    config: dict[str, Any]
    """The configuration it reads, by dotted key."""
    inputs: dict[str, str]
    """Digest of what it reads, by stage."""

    @property
    def value(self) -> str:
        """Hex digest over all parts."""
        return digest(asdict(self))

    def difference(self, other: "Fingerprint") -> str:
        """What differs from ``other``, an earlier fingerprint of the same stage, in words."""
        changes = []
        if keys := _changed(other.config, self.config):
            told = [f"{k} {other.config.get(k)} -> {self.config.get(k)}" for k in keys]
            changes.append(f"config changed: {', '.join(told)}")
        if keys := _changed(other.inputs, self.inputs):
            changes.append(f"inputs changed: {', '.join(keys)}")
        if keys := _changed(other.code, self.code):
            changes.append(f"code changed: {', '.join(keys)}")
        return "; ".join(changes)


def fingerprint(stage: Stage, config: Config, inputs: dict[str, Path]) -> Fingerprint:
    """Fingerprint of ``stage`` for finished inputs (output folders by stage name)."""
    values = flatten(asdict(config))
    chosen = {
        key: values[key]
        for key in sorted(values)
        if any(key == part or key.startswith(f"{part}.") for part in stage.config)
    }
    digests = {name: outputs_digest(inputs[name], stage.inputs[name]) for name in stage.inputs}
    if stage.external:
        digests["data"] = stage.external(config)
    return Fingerprint(code_of(stage), chosen, digests)


def code_of(stage: Stage) -> dict[str, str]:
    """Digests of the stage's own file and of every bngan module it imports, directly or not.

    Taken over the syntax tree, so that comments and layout do not count.
    """
    own = Path(inspect.getfile(stage.run))
    found: dict[str, str] = {f"pipeline/stages/{own.name}": _digest_source(own)}
    pending = sorted(_imported_modules(own))
    while pending:
        path = Path(pending.pop())
        name = path.relative_to(_library_root().parent).as_posix()
        if name not in found:
            found[name] = _digest_source(path)
            pending += sorted(_imported_modules(path))
    return found | {library: version(library) for library in _LIBRARIES}


@cache
def _library_root() -> Path:
    import bngan

    return Path(str(bngan.__file__)).parent


@cache
def _digest_source(path: Path) -> str:
    tree = ast.dump(ast.parse(path.read_text()))
    return hashlib.sha256(tree.encode()).hexdigest()[:12]


@cache
def _imported_modules(path: Path) -> frozenset[str]:
    """Files of the bngan modules that ``path`` imports anywhere in its text."""
    files = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] == "bngan" and (found := _module_file(name)):
                files.add(found)
    return frozenset(files)


def _module_file(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None  # a name inside a module, not a module
    return spec.origin if spec else None


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [key for key in sorted(before | after) if before.get(key) != after.get(key)]
