"""Serve a registered model over HTTP, with requests and answers like MLflow's scoring server.

The server verifies weights and runs the installed code only. A model's folder has code too, which
MLflow's server runs unseen. Requests are limited, and an error is one line.
"""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bngan.generation.predict import PARAMETERS, predict
from bngan.generation.sampler import Sampler
from bngan.serialization.problem import one_line
from pipeline.core.errors import UserError
from pipeline.registry.registry import open_generator

MOST_BODY = 2**20
"""Most bytes of a request: ten thousand indices of twenty digits need a quarter of it."""
MOST_WAITING = 64
"""Most requests that arrive or wait at one time; each may hold ``MOST_BODY`` bytes."""
_ARRIVAL_TIMEOUT_S = 30.0
"""Seconds that a request may take to arrive."""


def application(workspace: Path, uri: str) -> Starlette:
    """Return the ASGI application of a model: /invocations, /classes, /ping, /health and /version.

    Raises:
        UserError: if the model does not exist, or has changed since its registration.
    """
    with open_generator(workspace, uri) as model:
        return application_of(model.sampler)


def application_of(sampler: Sampler) -> Starlette:
    """Return the ASGI application of a loaded generator."""
    one, places = asyncio.Lock(), asyncio.Semaphore(MOST_WAITING)

    async def invocations(request: Request) -> Response:
        if places.locked():
            return _refusal(503, "too many requests at once: try again")
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return _refusal(415, "Content-Type must be application/json")
        try:
            async with places:
                body = await asyncio.wait_for(_body(request), _ARRIVAL_TIMEOUT_S)
                if body is None:
                    return _refusal(413, f"a request has {MOST_BODY} bytes at most")
                async with one:  # it takes all processors, and its memory once
                    answer = await asyncio.to_thread(_answer, sampler, body)
            return Response(answer, media_type="application/json")
        except (TimeoutError, ClientDisconnect):
            return _refusal(408, f"the request did not arrive within {_ARRIVAL_TIMEOUT_S:.0f} s")
        except ValueError as error:
            return _refusal(400, str(error))

    routes = [Route("/invocations", invocations, methods=["POST"])]
    for path, text in {"/ping": "\n", "/health": "\n", "/version": mlflow.__version__}.items():
        routes.append(Route(path, PlainTextResponse(text)))
    classes = json.dumps({"classes": sampler.class_names})
    routes.append(Route("/classes", Response(classes, media_type="application/json")))
    return Starlette(routes=routes)


def listening(host: str, port: int) -> socket.socket:
    """Return a listening socket at an address.

    Raises:
        UserError: if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(f"--port: {host}:{port} cannot be used: {error.strerror}") from error


def serve(application: Starlette, at: socket.socket) -> None:
    """Answer requests until Ctrl-C."""
    config = uvicorn.Config(
        application,
        log_level="warning",
        timeout_graceful_shutdown=int(_ARRIVAL_TIMEOUT_S),  # for clients that do not read
    )
    uvicorn.Server(config).run([at])


def _refusal(status: int, message: str) -> Response:
    code = "BAD_REQUEST" if status < 500 else "TEMPORARILY_UNAVAILABLE"
    return JSONResponse({"error_code": code, "message": " ".join(message.split())}, status)


async def _body(request: Request) -> bytes | None:
    """Return a request's body, or None as soon as it is longer than ``MOST_BODY``."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            return None
    return body


def _answer(sampler: Sampler, body: bytes) -> bytes:
    """Return the body of the answer. Raise ``ValueError`` for a mistake in the request."""
    predicted = predict(sampler, *_parsed(body))
    predictions = predicted.tolist() if isinstance(predicted, np.ndarray) else predicted
    return json.dumps({"predictions": predictions}).encode()


def _parsed(body: bytes) -> tuple[Any, dict[str, Any]]:
    """Return a request's indices and parameters; unknown keys are errors, unlike in MLflow."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError("the body is no JSON") from error
    if not isinstance(request, dict):
        raise ValueError("the body must be a JSON object with inputs and params")
    params = request.pop("params", None) or {}
    if not isinstance(params, dict):
        raise ValueError("params must be an object of names and values")
    _refuse_unknown("key", request, ("inputs", "instances", "params"))
    _refuse_unknown("parameter", params, PARAMETERS)
    if len(request) != 1:
        raise ValueError("the body must have inputs")
    (inputs,) = request.values()
    if isinstance(inputs, dict):
        _refuse_unknown("input", inputs, ("index",))
        inputs = inputs.get("index")
    return inputs, params


def _refuse_unknown(what: str, given: Any, known: Any) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"unknown {what} {one_line(unknown[0]):.60}: there are {', '.join(known)}")
