"""A registered model over HTTP: MLflow's own scoring server, but what it does not know is an error."""

import json
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PyFuncModel

from pipeline import registry

_BODY = ("inputs", "instances", "params")


def application(workspace: Path, uri: str) -> Any:
    """The ASGI application of the model at ``uri``.

    MLflow's server drops parameters that a model does not have; this one answers 400 and names them.

    Raises:
        UserError: if there is no such model.
    """
    from fastapi import Request
    from fastapi.responses import JSONResponse
    from mlflow.pyfunc import scoring_server

    with registry.model_at(workspace, uri):
        model = mlflow.pyfunc.load_model(uri)
    app = scoring_server.init(model)

    @app.middleware("http")  # type: ignore[untyped-decorator]
    async def refuse_unknown(request: Request, call_next: Any) -> Any:
        if request.url.path == "/invocations" and (
            problem := _problem(await request.body(), model)
        ):
            return JSONResponse({"error_code": "BAD_REQUEST", "message": problem}, 400)
        return await call_next(request)

    return app


def _problem(body: bytes, model: PyFuncModel) -> str | None:
    """What is wrong with a request, as far as MLflow would not say."""
    try:
        request = json.loads(body)
    except ValueError:
        return None
    schema = model.metadata.get_params_schema()  # type: ignore[no-untyped-call]
    known = [param.name for param in schema.params] if schema else []
    if not isinstance(request, dict):
        return "the body must be a JSON object with inputs and params"
    params = request.get("params") or {}
    if not isinstance(params, dict):
        return "params must be an object of names and values"
    for given, allowed, what in ((request, _BODY, "key"), (params, known, "parameter")):
        if unknown := sorted(set(given) - set(allowed)):
            return f"unknown {what} {unknown[0]}: there are {', '.join(allowed)}"
    return None
