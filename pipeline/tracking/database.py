"""The SQLite database of a workspace, and its URI."""

from pathlib import Path
from urllib.parse import unquote

from pipeline.core.errors import UserError

_DRIVER = "sqlite+pysqlite"
"""Full name of ``sqlite`` in URIs: for URIs that begin with the short one, MLflow creates the folder
that they name, quotes and all."""


def database_uri(workspace: Path) -> str:
    """Return the URI of the database in a workspace.

    A path with ``?`` or ``%`` is quoted, if the installed SQLAlchemy reads quotes.

    Raises:
        UserError: if the database is elsewhere, or the path cannot be a URI.
    """
    # The import takes long, and is not needed with a server.
    from sqlalchemy.engine import URL

    path = str(workspace / "mlflow.db")
    uri = f"sqlite:///{path}"
    if database_path(uri) != Path(path):
        uri = URL.create(_DRIVER, database=path).render_as_string(hide_password=False)
    if database_path(uri) != Path(path):
        raise UserError(
            f"workspace: {workspace} has a ? or % in it, which SQLAlchemy before 2.1 does not read: "
            "install a newer one, or take another folder"
        )
    # Earlier versions did not quote the path.
    before = Path(unquote(path.partition("?")[0]))
    moved = before != Path(path) and not Path(path).exists()
    if moved and before.is_file() and (workspace / "stages").is_dir():
        raise UserError(
            f"workspace: an earlier version wrote the database of {workspace} to {before}: "
            f"copy it to {path}"
        )
    return uri


def database_path(uri: str) -> Path | None:
    """Return the file of a SQLite URI; None for another store, and for a database in memory."""
    if not uri.startswith(("sqlite:///", f"{_DRIVER}:///")):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(uri).database
    return Path(database) if database else None
