"""Fingerprints of stages: everything that a result depends on, in parts that name changes."""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from bngan.serialization.manifest import digest, outputs_digest
from pipeline.config.parser import flatten
from pipeline.config.schema import Config
from pipeline.workflow.stage import Stage

_CARRIERS = {"bngan", "bngan.serialization", "pipeline"} | {
    f"pipeline.{room}"
    for room in ("cluster", "config", "core", "registry", "storage", "tracking", "workflow")
}
"""Packages whose modules run stages without shaping their results."""


@dataclass(frozen=True)
class Fingerprint:
    """Identity of a stage's work: equal fingerprints mean equal results."""

    code: dict[str, str]
    """Digest of each source file of the stage, and the versions of its libraries."""
    config: dict[str, Any]
    """The configuration that the stage reads, by dotted key."""
    inputs: dict[str, str]
    """Digest of each input by stage; ``data`` is the input from outside the workspace."""

    @property
    def value(self) -> str:
        """Hex digest over all parts."""
        return digest(asdict(self))

    def difference(self, other: "Fingerprint") -> str:
        """Return in words the difference from ``other``, an earlier one of the same stage."""
        changes = []
        for part in ("config", "inputs", "code"):
            before, after = getattr(other, part), getattr(self, part)
            keys = [key for key in sorted(before | after) if before.get(key) != after.get(key)]
            if keys and part == "config":
                keys = [f"{key} {before.get(key)} -> {after.get(key)}" for key in keys]
            if keys:
                changes.append(f"{part} changed: {', '.join(keys)}")
        return "; ".join(changes)


def fingerprint(stage: Stage, config: Config, inputs: dict[str, Path]) -> Fingerprint:
    """Return the fingerprint of ``stage`` for finished inputs (output folders by stage name)."""
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
    """Return digests of the stage's file and of its imports from this project, direct or not.

    Comments, docstrings and layout do not count, nor do modules in ``_CARRIERS``. Versions of the
    stage's libraries are added.
    """
    return code_below(stage.run.__module__, *stage.modules, libraries=stage.libraries)


def code_below(*modules: str, libraries: Iterable[str]) -> dict[str, str]:
    """Return digests of modules and of their imports from this project, direct or not.

    The versions of ``libraries`` are added.
    """
    digests: dict[str, str] = {}
    pending = list(modules)
    while pending:
        name = pending.pop()
        if name in digests or not (path := _source(name)):
            continue
        digests[name], imported = _read(path)
        pending += sorted(imported)
    return digests | {library: version(library) for library in libraries}


def _source(name: str) -> Path | None:
    """Find a module of this project; None for ``_CARRIERS``, other modules and names in modules."""
    if name.split(".")[0] not in ("bngan", "pipeline"):
        return None
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    package = name if spec.submodule_search_locations else name.rpartition(".")[0]
    return None if package in _CARRIERS else Path(spec.origin)


@cache
def _read(path: Path) -> tuple[str, frozenset[str]]:
    """Return the digest of a file's code, and all names in its imports, modules or not."""
    tree, names = ast.parse(path.read_text(encoding="utf-8")), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12], frozenset(names)


def _is_text(line: ast.AST) -> bool:
    value = line.value if isinstance(line, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def stage_tags(stage: str, fingerprint: Fingerprint) -> dict[str, str]:
    """Return tags by which a later invocation recognises the work and names later changes."""
    parts = {f"fp.{part}": json.dumps(value) for part, value in asdict(fingerprint).items()}
    return {"stage": stage, "fingerprint": fingerprint.value, **parts}


def recorded_fingerprint(run: Run) -> Fingerprint | None:
    """Return the fingerprint in a run's tags, secrets blanked, or None if it cannot be read."""
    try:
        parts = {part.name: run.data.tags[f"fp.{part.name}"] for part in fields(Fingerprint)}
        values = {name: json.loads(text) for name, text in parts.items()}
    except (ValueError, KeyError, RecursionError):
        return None
    readable = all(isinstance(value, dict) for value in values.values())
    return Fingerprint(**values) if readable else None
