import pytest

from pipeline.config.schema import TrainConfig, WorkerRange


@pytest.mark.parametrize(("value", "workers"), [(3, (3, 3)), ([2, 8], (2, 8)), ([1, 1], (1, 1))])
def test_a_number_of_workers_is_a_range(value: int | list[int], workers: tuple[int, int]) -> None:
    found = TrainConfig(num_workers=value).workers
    assert found == workers
    assert (found.least, found.most) == workers


@pytest.mark.parametrize("value", [0, -1, [], [1], [1, 2, 3], [2, 1], [0, 1]])
def test_what_is_no_range_of_workers(value: int | list[int]) -> None:
    with pytest.raises(ValueError, match=r"^must be a positive number or \[min, max\], got "):
        WorkerRange.parse(value)
