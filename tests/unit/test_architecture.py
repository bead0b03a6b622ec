"""The house rules that a machine can check."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for d in ("bngan", "pipeline") for p in (ROOT / d).rglob("*.py"))
FORBIDDEN = {"ray", "mlflow", "omegaconf", "pipeline"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_the_library_does_not_know_the_workflow() -> None:
    library = [path for path in SOURCES if path.is_relative_to(ROOT / "bngan")]
    assert len(library) > 10
    for path in library:
        assert not imported(path) & FORBIDDEN, path


def test_ray_is_started_in_one_place_only() -> None:
    users = {p.name for p in SOURCES if "ray" in imported(p)}
    assert users == {"check.py", "cluster.py", "gauges.py", "jobs.py", "train.py"}
    assert "ray.init" not in (ROOT / "pipeline/stages/train.py").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            docstring = len((ast.get_docstring(node) or "").splitlines())
            assert node.end_lineno - node.lineno + 1 - docstring <= 40, node.name


def test_nothing_is_unpickled() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert "weights_only=False" not in text
        assert "import pickle" not in text
        assert text.count("torch.load(") == text.count("torch.load(path, weights_only=True)")
