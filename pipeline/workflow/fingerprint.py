"""What a stage's result depends on, kept in parts so that a change can be named."""

import ast
import hashlib
import importlib.util
import inspect
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.entities import Run

from bngan.serialization.manifest import digest, outputs_digest
from pipeline.config.parser import flatten
from pipeline.config.schema import Config
from pipeline.workflow.stage import Stage

_CARRIERS = frozenset(
    (
        "bngan",
        "bngan.serialization",
        "pipeline",
        "pipeline.cluster",
        "pipeline.config",
        "pipeline.core",
        "pipeline.registry",
        "pipeline.storage",
        "pipeline.tracking",
        "pipeline.workflow",
    )
)
"""Packages whose modules bring stages about without shaping their results."""


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
            changed = [f"{k} {other.config.get(k)} -> {self.config.get(k)}" for k in keys]
            changes.append(f"config changed: {', '.join(changed)}")
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


def outputs_name(stage: Stage, current: Fingerprint) -> str:
    """Return the name, in the workspace, of the folder with a stage's outputs."""
    return f"stages/{stage.name}/{current.value[:16]}"


def code_of(stage: Stage) -> dict[str, str]:
    """Digests of the stage's own file and of what it imports of this project, directly or not.

    Comments, docstrings and layout do not count, nor do the modules that only carry the workflow.
    """
    own = inspect.getmodule(stage.run)
    return code_below(str(own and own.__name__), *stage.modules, libraries=stage.libraries)


def code_below(*modules: str, libraries: Iterable[str]) -> dict[str, str]:
    """Digests of modules of this project and of what they import of it, directly or not.

    Beside them the versions of ``libraries``.
    """
    digests: dict[str, str] = {}
    pending = list(modules)
    while pending:
        name = pending.pop()
        source = _source(name)
        if source is None or name in digests or source.package in _CARRIERS:
            continue
        module = _read(source.path)
        digests[name] = module.digest
        pending += sorted(module.imported)
    return digests | {library: version(library) for library in libraries}


class _Source(NamedTuple):
    """Where a module is."""

    path: Path
    package: str
    """The folder that it lies in, as a dotted name; a package's own for its ``__init__``."""


def _source(name: str) -> _Source | None:
    """Find a module of this project; None for other modules and for names inside modules."""
    if name.split(".")[0] not in ("bngan", "pipeline"):
        return None
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    package = name if spec.submodule_search_locations else name.rpartition(".")[0]
    return _Source(Path(spec.origin), package)


class _Module(NamedTuple):
    """A source file, read once."""

    digest: str
    """Of what it says, without comments, docstrings and layout."""
    imported: frozenset[str]
    """Names that it imports anywhere in its text, as modules and as names inside them."""


@cache
def _read(path: Path) -> _Module:
    tree, names = ast.parse(path.read_text()), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return _Module(hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12], frozenset(names))


def _is_text(line: ast.AST) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [key for key in sorted(before | after) if before.get(key) != after.get(key)]


_PARTS = ("code", "config", "inputs")


def stage_tags(stage: str, fingerprint: Fingerprint) -> dict[str, str]:
    """Tags that let a later invocation recognise the work, and say what has changed since."""
    parts = {f"fp.{part}": json.dumps(getattr(fingerprint, part)) for part in _PARTS}
    return {"stage": stage, "fingerprint": fingerprint.value, **parts}


def recorded_fingerprint(run: Run) -> Fingerprint | None:
    """The fingerprint a run was tagged with, if it can be read: what is secret in one is blanked."""
    try:
        return Fingerprint(**{part: json.loads(run.data.tags[f"fp.{part}"]) for part in _PARTS})
    except (ValueError, KeyError):
        return None
