"""MLflow's databases, copied from one that has its tables: making those takes seconds."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

DATABASE = "mlflow.db"
Initialize = Callable[[Any], None]
"""As ``mlflow.store.db.utils._initialize_tables``: makes the tables that an engine's database lacks."""


def make_template(initialize: Initialize, folder: Path) -> None:
    """Let MLflow make a database in ``folder``, with all its tables and nothing in them."""
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry

    engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{folder / DATABASE}")
    initialize(engine)
    engine.dispose()


def copying(template: Callable[[], Path], initialize: Initialize) -> Initialize:
    """Return a function that copies the template into an SQLite file, and else calls ``initialize``."""

    def copy(engine: Any) -> None:
        if engine.dialect.name != "sqlite" or not engine.url.database:
            initialize(engine)
            return
        with (
            closing(sqlite3.connect(template() / DATABASE)) as source,
            closing(sqlite3.connect(engine.url.database)) as target,
        ):
            source.backup(target)

    return copy
