"""Who trains: how many workers, on what, and what is said where there is no room for them."""

import pytest

from pipeline.cluster.launch import missing_workers, resolve_workers
from pipeline.core.environment import workers_defaults


@pytest.mark.parametrize(
    ("gpus", "wanted", "accelerator", "expected"),
    [
        (0, (2, 2), "auto", ((2, 2), False)),
        (1, (2, 2), "auto", ((1, 1), True)),  # not two CPUs beside an idle GPU
        (8, (2, 2), "auto", ((2, 2), True)),
        (1, (2, 4), "auto", ((1, 4), True)),
        (8, (2, 4), "auto", ((2, 4), True)),
        (8, (2, 2), "cpu", ((2, 2), False)),
        (0, (2, 2), "gpu", ((2, 2), True)),
        (1, (2, 2), "gpu", ((2, 2), True)),  # as told, and refused
    ],
)
def test_gpus_are_taken_where_there_are_any(
    gpus: int, wanted: tuple[int, int], accelerator: str, expected: object
) -> None:
    assert resolve_workers({"CPU": 16.0, "GPU": float(gpus)}, wanted, accelerator) == expected


def test_more_workers_than_the_cluster_has_is_said_at_once() -> None:
    assert missing_workers({"CPU": 4.0}, 8, use_gpu=False) == (
        "train.num_workers=8 needs as many CPUs, but the Ray cluster has 4"
    )
    assert missing_workers({"CPU": 4.0, "GPU": 1.0}, 2, use_gpu=True) == (
        "train.num_workers=2 needs as many GPUs, but the Ray cluster has 1"
    )
    assert missing_workers({"CPU": 4.0}, 4, use_gpu=False) is None


def test_what_the_user_says_of_workers_memory_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX"):
        monkeypatch.delenv(name, raising=False)
    assert "glibc.malloc.arena_max=1" in workers_defaults()["GLIBC_TUNABLES"]
    for name in ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX"):
        with monkeypatch.context() as given:
            given.setenv(name, "2")
            assert workers_defaults() == {}
