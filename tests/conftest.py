import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import settings

from pipeline.core.environment import set_defaults
from tests import databases
from tests.environment import isolate
from tests.shared import made_once

isolate()
set_defaults()
torch.set_num_threads(1)
# The same examples every time, and no verdict on how fast a busy machine is.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


def pytest_runtest_call() -> None:
    """Begin each test with the same random numbers of torch, whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the current folder one of the tests' own: relative paths do not lead into the checkout."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("current"))
    yield
    os.chdir(before)


@pytest.fixture(scope="session", autouse=True)
def _databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let MLflow copy its new SQLite databases from one whose tables it has made once."""
    if "mlflow" not in sys.modules:  # then no test can make a database
        yield
        return
    from mlflow.store.db import utils

    initialize = utils._initialize_tables
    make = partial(databases.make_template, initialize)
    template = partial(made_once, tmp_path_factory, "database", make)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", databases.copying(template, initialize))
        yield


@pytest.fixture
def digits() -> tuple[Any, Any]:
    """scikit-learn's digits as uint8 ``(N, 8, 8, 1)`` and int64 labels."""
    import numpy as np
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    return images, data.target.astype(np.int64)
