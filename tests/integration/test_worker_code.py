"""A worker that would import other code than its driver did is refused by name, before any work."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster import launch, working_dir
from pipeline.cluster.launch import map_tasks, run_training_workers, run_trials
from pipeline.core.errors import UserError
from tests.environment import ROOT

Entry = Callable[[Path], list[Any]]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A Ray cluster of one machine, which is there before the commands."""
    import ray
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", found.address)
        yield
    ray.shutdown()
    found.shutdown()


def train(folder: Path, num_workers: int = 1) -> list[Any]:
    records: list[Any] = []
    run_training_workers(
        train_worker,
        {"mark": str(folder / "mark")},
        name="x",
        storage={"storage_path": str(folder / "ray")},
        num_workers=(num_workers, num_workers),
        accelerator="cpu",
        max_failures=4,
        on_record=records.append,
    )
    return records


def train_worker(settings: dict[str, Any]) -> None:
    Path(settings["mark"]).touch()
    settings["queue"].put({"value": 1})


def tasks(folder: Path) -> list[Any]:
    work = [(str(folder / "mark"), number) for number in range(5)]
    return list(map_tasks(double, work, "cpu"))


def double(mark: str, number: int, device: str) -> int:
    Path(mark).touch()
    assert device == "cpu"
    return 2 * number


def trials(folder: Path) -> list[Any]:
    records: list[Any] = []
    run_trials(
        trial,
        [(str(folder / "mark"), number) for number in range(3)],
        name="x",
        storage={"storage_path": str(folder / "ray")},
        at_once=2,
        on_result=lambda index, record: records.append((index, record["value"])),
    )
    return sorted(records)


def trial(task: tuple[str, int]) -> dict[str, Any]:
    Path(task[0]).touch()
    return {"value": 2 * task[1]}


def edit(folder: Path) -> None:
    with (folder / "bngan/numerics/rng.py").open("a") as file:
        file.write("# other\n")


def remove(folder: Path) -> None:
    (folder / "pipeline/studies/effects.py").unlink()


def add(folder: Path) -> None:
    """A module that would win over ``pipeline/cluster/launch.py``."""
    (folder / "pipeline/cluster/launch").mkdir()
    (folder / "pipeline/cluster/launch/__init__.py").touch()


def be_another_program(folder: Path) -> None:
    """In which nothing can be imported: the check must come before."""
    for path in folder.rglob("*.py"):
        path.write_text("raise ImportError('of another program')\n")


@pytest.mark.parametrize(
    ("entry", "expected", "change", "name"),
    [
        (train, [{"value": 1}], edit, "bngan/numerics/rng.py"),
        (tasks, [0, 2, 4, 6, 8], remove, "pipeline/studies/effects.py"),
        (trials, [(0, 0), (1, 2), (2, 4)], add, "pipeline/cluster/launch/__init__.py"),
        pytest.param(train, None, be_another_program, "bngan/__init__.py", marks=pytest.mark.full),
        pytest.param(tasks, None, be_another_program, "bngan/__init__.py", marks=pytest.mark.full),
        pytest.param(trials, None, be_another_program, "bngan/__init__.py", marks=pytest.mark.full),
    ],
)
def test_other_code_is_refused_before_any_work(
    entry: Entry,
    expected: list[Any] | None,
    change: Callable[[Path], None],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def altered() -> Iterator[Path]:
        with working_dir.working_folder() as folder:
            change(folder)
            yield folder

    mark = tmp_path / "mark"
    if expected is not None:
        assert entry(tmp_path) == expected
        mark.unlink()
    monkeypatch.setattr(launch, "working_folder", altered)
    with pytest.raises(UserError) as refused:
        entry(tmp_path)
    (line,) = str(refused.value).splitlines()
    package = name.split("/", maxsplit=1)[0]
    start = (
        f"{name} is not the one of this command on {socket.gethostname()}, where a worker imports"
    )
    assert line.startswith(f"{start} {package} from /tmp/ray/")
    assert "PYTHONPATH" in line
    assert not mark.exists()


@pytest.mark.full
def test_no_worker_begins_where_another_has_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one machine of two, something puts another copy before all else on the path."""
    from ray.cluster_utils import Cluster

    (other := tmp_path / "other" / "bngan").mkdir(parents=True)
    (other / "__init__.py").touch()
    (other.parent / "sitecustomize.py").write_text(
        f"import sys; sys.path[:0] = [{str(other.parent)!r}]"
    )
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        found.add_node(num_cpus=1)
        found.add_node(num_cpus=1, env_vars={"PYTHONPATH": f"{other.parent}:{ROOT}"})
        monkeypatch.setenv("RAY_ADDRESS", found.address)
        with pytest.raises(UserError, match=f"imports bngan from {other}: "):
            train(tmp_path, num_workers=2)
    finally:
        found.shutdown()
    assert not (tmp_path / "mark").exists()
