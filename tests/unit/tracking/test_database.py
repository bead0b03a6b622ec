"""The database of a workspace, whatever the workspace is called."""

import sqlite3
from pathlib import Path
from urllib.parse import unquote

import pytest

from pipeline.core.errors import UserError
from pipeline.tracking.database import database_path, database_uri

ODD = ["my runs #1?%20;é", "50%", "x%41", "q?a=b&c", "a#b", "quote's \"", "a:b@c", "plus+ +"]


@pytest.mark.parametrize("name", ODD)
def test_sqlalchemy_opens_the_file_in_the_workspace(name: str, tmp_path: Path) -> None:
    from sqlalchemy import create_engine, text

    folder = tmp_path / name
    folder.mkdir()
    uri = database_uri(folder)
    assert database_path(uri) == folder / "mlflow.db"
    with create_engine(uri).begin() as connection:
        connection.execute(text("CREATE TABLE seen (x INTEGER)"))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    (file,) = folder.iterdir()
    assert file.name == "mlflow.db"
    with sqlite3.connect(file) as opened:
        assert opened.execute("SELECT name FROM sqlite_master").fetchall() == [("seen",)]


def test_other_paths_are_written_as_before(tmp_path: Path) -> None:
    for name in ("runs", "my runs", "é#;"):
        assert database_uri(tmp_path / name) == f"sqlite:///{tmp_path / name}/mlflow.db"


def test_other_stores_have_no_file() -> None:
    for uri in ("http://host:5000", "postgresql://host/db", "sqlite://"):
        assert database_path(uri) is None
    assert database_path("sqlite:///runs/mlflow.db?timeout=9") == Path("runs/mlflow.db")


@pytest.mark.parametrize("name", ["a?b", "x%41"])
def test_what_an_earlier_version_wrote_elsewhere_is_named(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    (folder / "stages").mkdir(parents=True)
    before = Path(unquote(str(folder / "mlflow.db").partition("?")[0]))
    before.parent.mkdir(exist_ok=True)
    before.write_bytes(b"SQLite format 3\0")
    with pytest.raises(UserError, match="copy it to") as refused:
        database_uri(folder)
    assert str(before) in str(refused.value)
    (folder / "mlflow.db").write_bytes(before.read_bytes())
    assert database_path(database_uri(folder)) == folder / "mlflow.db"
