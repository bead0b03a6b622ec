"""The rooms of the source tree, the arrows between them, and where each module's test is."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.workflow.fingerprint import code_of
from pipeline.workflow.runner import STAGES

ROOT = Path(__file__).parents[2]
FLOORS = {
    "bngan": (
        ("numerics", "serialization"),
        ("distributed",),
        ("batchnorm", "data"),
        ("networks",),
        ("generation", "training"),
        ("diagnostics", "metrics"),
    ),
    "pipeline": (
        ("core",),
        ("cluster", "config", "data", "storage", "tracking"),
        ("registry", "reports", "training"),
        ("evaluation", "serving"),
        ("monitoring", "workflow"),
        ("studies",),
        ("cli",),
        ("__main__",),
    ),
}
"""Rooms from the ground up. A room imports rooms of lower floors only, inside functions too."""
NEVER = {
    ("pipeline", "training"): {"tracking", "registry"},
    ("pipeline", "reports"): {"tracking", "registry"},
}
"""Arrows down that must not be either."""
SHIMS = {"bngan.manifest", "bngan.requests", "bngan.sampling"}
"""Names that models registered by earlier code import. Nothing here does."""
GOLDEN = Path(__file__).parent / "workflow" / "stage_modules.json"
"""Modules of this project that each stage's fingerprint covers; ``python -m tests.unit.test_layout``
writes the file."""


def modules(package: str) -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = {
    package: {name: path for name, path in modules(package).items() if name not in SHIMS}
    for package in FLOORS
}


def imports(package: str, name: str) -> Iterator[str]:
    """Modules of the package that the module ``name`` imports anywhere in its text."""
    known = MODULES[package]
    for node in ast.walk(ast.parse(known[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if imported := next((m for m in (full, node.module) if m in known), None):
                    yield imported


def room(name: str) -> str | None:
    """Second part of a module's name; None for the package's own ``__init__``."""
    return name.split(".")[1] if "." in name else None


def arrows(package: str) -> set[tuple[str, str]]:
    return {
        (str(room(name)), str(room(other)))
        for name in MODULES[package]
        for other in imports(package, name)
        if room(name) and room(other) and room(name) != room(other)
    }


@pytest.mark.parametrize("package", FLOORS)
def test_no_arrow_runs_up_or_along_a_floor(package: str) -> None:
    floor = {each: number for number, rooms in enumerate(FLOORS[package]) for each in rooms}
    assert set(floor) == {room(name) for name in MODULES[package]} - {None}
    wrong = {(a, b) for a, b in arrows(package) if floor[a] <= floor[b]}
    assert wrong == set()


@pytest.mark.parametrize(("place", "forbidden"), NEVER.items(), ids=[".".join(p) for p in NEVER])
def test_arrows_that_must_never_be(place: tuple[str, str], forbidden: set[str]) -> None:
    package, name = place
    assert {b for a, b in arrows(package) if a == name} & forbidden == set()


@pytest.mark.parametrize("package", FLOORS)
def test_modules_of_a_room_do_not_import_each_other_in_a_circle(package: str) -> None:
    below = {name: set(imports(package, name)) - {name} for name in MODULES[package]}
    while leaves := {name for name, others in below.items() if not others & set(below)}:
        below = {name: others for name, others in below.items() if name not in leaves}
    assert below == {}


def test_an_import_inside_a_function_says_what_it_saves() -> None:
    """It hides no arrow; the commands import what they need when they run, as their folder says."""
    for path in (path for package in FLOORS for path in MODULES[package].values()):
        lines = path.read_text().splitlines()
        for function in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(function, ast.FunctionDef) or path.parent.name == "cli":
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in FLOORS:
                    assert "  # " in lines[node.lineno - 1], f"{path}:{node.lineno}"


def test_old_names_only_hand_on_and_nothing_imports_them() -> None:
    known = modules("bngan")
    assert set(known) >= SHIMS
    for name in SHIMS:
        body = ast.parse(known[name].read_text()).body
        kinds = [type(node) for node in body]
        assert kinds == [ast.Expr, ast.ImportFrom, ast.Assign], name
    for path in (path for package in FLOORS for path in MODULES[package].values()):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.module in SHIMS), path


@pytest.mark.parametrize("package", FLOORS)
def test_every_room_says_what_it_is_for(package: str) -> None:
    for name, path in MODULES[package].items():
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text()))
            assert text, name
            assert text.splitlines()[0].endswith("."), name


def test_a_test_of_a_module_is_found_by_its_path() -> None:
    stems = {
        f"{room(name)}/{path.stem}"
        for package in FLOORS
        for name, path in MODULES[package].items()
        if path.stem != "__init__"
    }
    unit = ROOT / "tests" / "unit"
    for path in sorted(unit.glob("*/**/test_*.py")):
        place = path.relative_to(unit)
        name = path.stem.removeprefix("test_")
        tested = [stem for stem in stems if stem.startswith(f"{place.parts[0]}/")]
        assert any(f"{place.parts[0]}/{name}_".startswith(f"{stem}_") for stem in tested), place


def stage_modules() -> dict[str, list[str]]:
    return {
        stage.name: sorted(name for name in code_of(stage) if name.split(".")[0] in FLOORS)
        for stage in STAGES
    }


def test_a_stage_is_known_by_the_modules_that_shape_its_result() -> None:
    """Carriers by package: another help text of a gauge makes no training "made differently"."""
    assert stage_modules() == json.loads(GOLDEN.read_text())


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(stage_modules(), indent=1) + "\n")
