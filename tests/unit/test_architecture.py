"""The house rules that a machine can check."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import bngan
from tests.unit.library_use import full_name, private_names, text_decisions

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


def test_what_is_imported_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[\[><=]", line)[0].lower().replace("-", "_") for line in declared}
    providers = packages_distributions()
    foreign = set().union(*map(imported, SOURCES)) - {"bngan", "pipeline", *sys.stdlib_module_names}
    for module in foreign:
        assert {p.lower().replace("-", "_") for p in providers[module]} & names, module


def test_ray_is_started_in_one_place_only() -> None:
    users = {p.name for p in SOURCES if "ray" in imported(p)}
    there = {"jobs.py", "launch.py", "relay.py", "working_dir.py", "ray_internals.py"}
    assert users == {*there, "equivalence_check.py", "prometheus.py", "training_worker.py"}
    assert [p.name for p in SOURCES if "ray.init(" in p.read_text()] == ["launch.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            docstring = len((ast.get_docstring(node) or "").splitlines())
            assert node.end_lineno - node.lineno + 1 - docstring <= 40, node.name


def opened_by_locale(source: str) -> list[int]:
    """Lines that open a text file without saying its encoding, which the locale then decides."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        given = [*node.args, *(k.value for k in node.keywords)]
        modes = [a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        text = any(k.arg in ("text", "universal_newlines") for k in node.keywords)
        opens = name in ("open", "fdopen", "NamedTemporaryFile") and owner not in (
            "os",
            "Image",
            "tarfile",
        )
        opens |= owner == "os" and name == "fdopen"
        binary = any("b" in mode for mode in modes) or (name == "NamedTemporaryFile" and not modes)
        if name in ("read_text", "write_text") or text or (opens and not binary):
            lines.append(node.lineno)
    return lines


def test_text_files_are_read_alike_under_every_locale() -> None:
    for wrong in ("p.read_text()", "open(p)", "p.open('w')", "os.fdopen(1, 'w')", "run(text=True)"):
        assert opened_by_locale(wrong) == [1], wrong
    for right in ("p.read_text(encoding='utf-8')", "open(p, 'rb')", "os.open(p, 1)"):
        assert opened_by_locale(right) == [], right
    found = {str(p.relative_to(ROOT)): opened_by_locale(p.read_text()) for p in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}


UNPICKLING = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
COMMANDS = {"eval", "exec", "compile", "os.system", "os.popen", "__import__"}
PROGRAMS = {"torch.jit.load", "torch.export.load", "mlflow.pyfunc.load_model"}
"""What loads code; a file named by its owner, whom integrity.require_trust asks, is the exception."""
SAFE = {"yaml.SafeLoader", "yaml.CSafeLoader", "SafeLoader", "CSafeLoader"}
NEEDED = {"torch.load": "weights_only", "load_state_dict_from_url": "weights_only"}
EXCEPTIONS = {
    ("pipeline/monitoring/alerts.py", "shell=True"),  # the user's own command
    ("bngan/metrics/pretrained.py", "torch.jit.load"),
    ("bngan/metrics/pretrained.py", "torch.export.load"),
}


def dangers(source: str) -> set[str]:
    """What in a module unpickles, runs text as code, or hands text to a shell."""
    tree, found = ast.parse(source), set()
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    found |= {f"import {name}" for name in names.values() if name.split(".")[0] in UNPICKLING}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            name = full_name(node, names)
            found |= {name} & (COMMANDS | PROGRAMS)
            if name.endswith(("read_pickle", "unsafe_load", "full_load", "Unpickler")):
                found.add(name)
        elif isinstance(node, ast.Call):
            found |= dangerous_call(node, full_name(node.func, names))
    return found


def dangerous_call(node: ast.Call, name: str) -> set[str]:
    given = {k.arg: ast.unparse(k.value) for k in node.keywords}
    found = {
        f"{key}=True" for key in ("shell", "allow_pickle") if given.get(key, "False") != "False"
    }
    for loader, keyword in NEEDED.items():
        if (name == loader or name.endswith(f".{loader}")) and given.get(keyword) != "True":
            found.add(f"{loader} without {keyword}")
    if name in ("yaml.load", "yaml.load_all"):
        loader = given.get("Loader") or (ast.unparse(node.args[1]) if node.args[1:] else "")
        if loader not in SAFE:
            found.add(name)
    return found


def test_nothing_is_unpickled_and_no_text_runs_as_code() -> None:
    found = {
        (str(path.relative_to(ROOT)), danger)
        for path in SOURCES
        for danger in dangers(path.read_text())
    }
    assert found == EXCEPTIONS


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "import cloudpickle as harmless",
        "from dill import loads",
        "def f():\n    import joblib.numpy_pickle",
        "import shelve, json",
        "from torch import load\nload('x')",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "import torch as t\nt.load('x', weights_only=flag)",
        "from torch.hub import load_state_dict_from_url as get\nget('u')",
        "import torch\nloaders = [torch.jit.load]",
        "from torch import export\nexport.load('x')",
        "import mlflow\nmlflow.pyfunc.load_model('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "import pandas as pd\npd.read_pickle('x')",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nyaml.unsafe_load(text)",
        "eval(text)",
        "run = exec",
        "import os\nos.system(text)",
        "from os import popen\npopen(text)",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "from subprocess import Popen as P\nP(text, shell=flag)",
    ],
)
def test_what_would_is_found(planted: str) -> None:
    assert dangers(planted)


def test_what_is_safe_is_not() -> None:
    assert not dangers(
        "import torch, yaml, subprocess, re, numpy as np\n"
        "torch.load('x', weights_only=True)\nnp.load('x', allow_pickle=False)\nnp.load('x')\n"
        "yaml.safe_load(text)\nyaml.load(text, Loader=yaml.SafeLoader)\n"
        "subprocess.run(['ls'], shell=False)\nre.compile('x')\nmodel.eval()\n"
    )


LIBRARIES = (
    "bngan/data/datasets_internals.py",
    "bngan/data/pillow_internals.py",
    "bngan/numerics/torch_internals.py",
    "pipeline/config/omegaconf_errors.py",
    "pipeline/core/ray_internals.py",
    "pipeline/core/urllib3_errors.py",
    "pipeline/storage/pyarrow_errors.py",
    "pipeline/tracking/mlflow_internals.py",
)
"""The modules, one per library, that may use what a library does not promise."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_libraries_do_not_promise_is_used_in_one_module_each(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    if name not in LIBRARIES:
        assert not private_names(path.read_text())
        assert not text_decisions(path.read_text())


@pytest.mark.parametrize("name", LIBRARIES)
def test_each_such_module_has_a_contract_test(name: str) -> None:
    path = Path(name)
    assert (ROOT / "tests" / "unit" / path.parent.name / f"test_{path.name}").exists()


CATCH = "try:\n    f()\nexcept OSError as error:\n    "


@pytest.mark.parametrize(
    "planted",
    [
        f'{CATCH}again = "agent" in str(error)',
        f'{CATCH}again = "agent" not in repr(error)',
        f"{CATCH}again = any(word in str(error) for word in WORDS)",
        f'{CATCH}again = str(error) == "no"',
        f'{CATCH}again = re.search("no", str(error))',
        f"{CATCH}again = PATTERN.match(str(error.args))",
        f'{CATCH}again = str(error).startswith("no")',
        f'{CATCH}text = str(error)\n    again = "no" in text',
        f'{CATCH}line = first_line(error)\n    again = PATTERN.sub("", line)',
        f'{CATCH}line = next(iter(str(error).splitlines()), "")\n    again = PATTERN.sub("", line)',
        'def f(error: Exception) -> bool:\n    return "no" in str(error)',
        'class A:\n    def f(self, failure: "OSError | None"):\n        return str(failure).find("no")',
    ],
)
def test_a_search_in_an_errors_text_is_found(planted: str) -> None:
    assert text_decisions(planted)


@pytest.mark.parametrize(
    "planted",
    [
        "from torch.nn.modules.batchnorm import _BatchNorm",
        "import torch\ntorch._foreach_norm(x)",
        "import torch as t\nt.ops.aten.native_batch_norm(x)",
        "from torch import ops\nops.aten.native_batch_norm(x)",
        "from inspect import unwrap\nunwrap(f)",
        "import ray._private.services",
        "from mlflow.utils.rest_utils import http_request",
        "import mlflow\nmlflow.utils.rest_utils.http_request()",
        "def f(module):\n    return module._modules.items()",
        "from datasets.packaged_modules.cache.cache import Cache",
    ],
)
def test_a_private_name_is_found(planted: str) -> None:
    assert private_names(planted)


def test_what_is_asked_is_not_taken_for_a_search() -> None:
    asked = (
        f"{CATCH}if error.errno == 2 or isinstance(error, KeyError):\n        raise\n"
        "    print(str(error).splitlines()[0])\n    raise ValueError(str(error)) from error\n"
        'def g(name: str) -> bool:\n    return "x" in str(name) and name.startswith("y")\n'
        "class A:\n    def f(self):\n        return self._value, super()._f(), row._asdict()\n"
        "from mlflow.entities import Run\nimport torch\ntorch.ones(1).__class__\n"
    )
    assert not text_decisions(asked)
    assert not private_names(asked)


def test_the_version_to_cite_is_the_one_here() -> None:
    assert f"\nversion: {bngan.__version__}\n" in (ROOT / "CITATION.cff").read_text()
