"""What a served model answers to requests that nobody sends by mistake: 4xx and one line, at once."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
import requests
import torch
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from bngan.data.dataset import ImageSpec
from bngan.generation.predict import MOST_BYTES, MOST_IMAGES, most_images, predict
from bngan.generation.sampler import Sampler
from bngan.networks.config import GeneratorConfig, ModelConfig
from bngan.networks.factory import build_generator
from pipeline.core.errors import UserError
from pipeline.serving import server as serving
from pipeline.serving.server import MOST_BODY, MOST_WAITING, application_of


def tiny(shape: tuple[int, int, int] = (1, 8, 8)) -> Sampler:
    config, spec = ModelConfig(latent_dim=4, generator=GeneratorConfig(4)), ImageSpec(shape)
    torch.manual_seed(0)
    return Sampler(config, spec, build_generator(config, spec).state_dict())


def by_class(names: tuple[str, ...]) -> Sampler:
    config = ModelConfig(latent_dim=4, conditional=True, generator=GeneratorConfig(4))
    spec = ImageSpec((1, 8, 8), (1 / len(names),) * len(names), names)
    torch.manual_seed(0)
    return Sampler(config, spec, build_generator(config, spec).state_dict())


class Client:
    """Of a server on this machine."""

    def __init__(self, port: int) -> None:
        self.url, self.session = f"http://127.0.0.1:{port}", requests.Session()

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.url + path, timeout=60)

    def post(self, body: Any, content_type: str | None = "application/json") -> requests.Response:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        return self.session.post(f"{self.url}/invocations", text, headers=headers, timeout=60)


@contextmanager
def served(model: Sampler) -> Iterator[Client]:
    server = uvicorn.Server(uvicorn.Config(application_of(model), log_level="error"))
    with serving.listening("127.0.0.1", 0) as address:
        thread = threading.Thread(target=server.run, args=([address],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        try:
            yield Client(address.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(timeout=60)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with served(tiny()) as found:
        yield found


def test_a_port_in_use_is_said_before_anything_is_served() -> None:
    with serving.listening("127.0.0.1", 0) as address:
        port = address.getsockname()[1]
        with pytest.raises(
            UserError, match=f"--port: 127.0.0.1:{port} cannot be used: Address alr"
        ):
            serving.listening("127.0.0.1", port)


def refused(answer: requests.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert set(found) == {"error_code", "message"}
    assert "\n" not in found["message"]
    assert len(found["message"]) < 300
    return str(found["message"])


def test_it_answers_as_mlflows_server_does(client: Client) -> None:
    body = {"inputs": {"index": [3, 0]}, "params": {"seed": 7}}
    expected = tiny().images(7, [3, 0])
    np.testing.assert_array_equal(client.post(body).json()["predictions"], expected)
    png = client.post({"inputs": [3], "params": {"format": "png"}}).json()["predictions"]
    assert base64.b64decode(png[0]).startswith(b"\x89PNG")
    assert client.post({"instances": []}).json() == {"predictions": []}
    assert client.get("/ping").status_code == client.get("/health").status_code == 200
    assert client.get("/version").text


INDICES = [
    -1, 1, 1.5, [1.0], [-1], [2**63], [2**64], [10**400], [float("nan")], [float("inf")], ["1"],
    "12", [[0, 1]], [[]], [None], None, [True], True, {"index": 3}, {"index": None}, {},
    {"index": [0], "more": [1]}, [{}], [0] * (MOST_IMAGES + 1),
]  # fmt: skip
PARAMETERS = [
    ("seed", "x"), ("seed", 1.5), ("seed", None), ("seed", True), ("seed", 2**63), ("seed", [0]),
    ("seed", -(2**63) - 1), ("truncation", 0), ("truncation", float("nan")), ("truncation", "1"),
    ("truncation", True), ("truncation", 10**400), ("truncation", [1]), ("label", 0),
    ("label", 2**70), ("label", "x"), ("label", -2), ("label", None), ("label", True),
    ("label", 1.0), ("label", [1]), ("label", "x" * 10**5), ("class_name", "x"), ("class_name", 1),
    ("class_name", ["x"]), ("format", "gif"), ("format", None),
    ("format", ["png"]), ("format", {"a": 1}), ("count", 10**9), ("seed\n", 1),
]  # fmt: skip
BODIES = [
    b"", b"{", b"null", b"[]", b"3", b"\xff\xfe", b"{}", b'{"params": {}}', b'{"inputs": [0], "x": 1}',
    b'{"inputs": [0], "instances": [0]}', b'{"inputs": [0], "params": [1]}', b"[" * 100_000,
    b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"9" * 5000,
    b'{"inputs": [' + b"9" * 5000 + b"]}", b'{"inputs": [0], "\\ud800": 1}',
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=lambda value: repr(value)[:40])
def test_indices_that_are_none_are_refused(client: Client, index: Any) -> None:
    refused(client.post({"inputs": index}))


@pytest.mark.parametrize(("name", "value"), PARAMETERS)
def test_parameters_that_cannot_be_are_refused_by_name(
    client: Client, name: str, value: Any
) -> None:
    message = refused(client.post({"inputs": [0], "params": {name: value}}))
    assert name.strip() in message or "knows no classes" in message


def test_a_class_is_asked_for_by_name_or_by_number() -> None:
    names = ("Emoji", "apps", "7", "\udcff")
    model = by_class(names)
    with served(model) as client:
        assert client.get("/classes").json() == {"classes": list(names)}
        for params, number in (
            ({"label": "apps"}, 1), ({"label": 1}, 1), ({"label": "1"}, 1), ({"label": "7"}, 2),
            ({"label": "\udcff"}, 3), ({"class_name": "apps"}, 1), ({"class_name": "1"}, 1),
        ):  # fmt: skip
            found = client.post({"inputs": [0, 5], "params": params}).json()["predictions"]
            np.testing.assert_array_equal(found, model.images(0, [0, 5], labels=[number] * 2))
        for params in ({"label": -1}, {"class_name": None}, {}):
            found = client.post({"inputs": [0, 5], "params": params}).json()["predictions"]
            np.testing.assert_array_equal(found, model.images(0, [0, 5]))
        there_are = '0 Emoji, 1 apps, 2 "7", 3 \\udcff'
        for params in ({"label": 7}, {"label": "appz"}, {"class_name": "-1"}, {"label": "\ud800"}):
            (label,) = params.values()
            message = refused(client.post({"inputs": [0], "params": params}))
            assert message.startswith("there is no class ")
            listed = message.partition(": ")[2]
            assert sorted(listed.split(", ")) == there_are.split(", ")
            assert (listed == there_are) is (label != "appz")  # which has a similar one
        both = {"label": 0, "class_name": "apps"}
        assert "not both" in refused(client.post({"inputs": [0], "params": both}))


def test_a_model_without_classes_lists_none(client: Client) -> None:
    assert client.get("/classes").json() == {"classes": []}


@pytest.mark.parametrize("body", BODIES, ids=lambda value: repr(value)[:40])
def test_bodies_that_are_no_requests_are_refused(client: Client, body: bytes) -> None:
    refused(client.post(body))


def test_other_content_is_refused(client: Client) -> None:
    for kind in ("text/csv", "application/vnd.apache.parquet", "", "application/jsonx", None):
        refused(client.post(b"index\n0", kind), 415)


def test_ten_million_images_are_refused_before_anything_is_made() -> None:
    with mock.patch.object(Sampler, "images") as made:
        for values in (np.arange(10**7), list(range(10**7)), range(10**7)):
            with pytest.raises(ValueError, match="a request gets 10000 images at most"):
                predict(tiny(), values, {})
    made.assert_not_called()
    assert most_images(tiny((3, 1024, 1024))) == MOST_BYTES // (3 * 2**20) == 5


def test_a_large_body_is_refused_before_all_of_it_is_there(client: Client) -> None:
    refused(client.post(b"1" * (MOST_BODY + 1)), 413)
    host = client.url.removeprefix("http://")
    with socket.create_connection(("127.0.0.1", int(host.split(":")[1])), timeout=60) as chunked:
        chunked.sendall(
            f"POST /invocations HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(MOST_BODY // 2**16 + 1):  # and there is no end
            chunked.sendall(b"10000\r\n" + b"1" * 2**16 + b"\r\n")
        assert chunked.recv(12) == b"HTTP/1.1 413"


def test_a_request_that_does_not_arrive_is_given_up(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_ARRIVAL_TIMEOUT_S", 0.1)
    with socket.create_connection(("127.0.0.1", int(client.url.split(":")[2])), timeout=60) as slow:
        head = "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        slow.sendall(f"{head}Content-Length: 10\r\n\r\n1".encode())
        assert slow.recv(12) == b"HTTP/1.1 408"


def test_of_many_requests_at_once_one_is_answered_at_a_time_and_no_endless_queue_forms() -> None:
    model, at_once, most = tiny(), 0, 0
    lock, images, goes_on = threading.Lock(), model.images, threading.Event()

    def counted(*request: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once, most = at_once + 1, max(most, at_once + 1)
        goes_on.wait(60)
        try:
            return images(*request)
        finally:
            with lock:
                at_once -= 1

    with (
        mock.patch.object(model, "images", counted),
        served(model) as client,
        ThreadPoolExecutor(MOST_WAITING + 10) as pool,
    ):
        body = {"inputs": [0] * 50}
        asked = [
            pool.submit(lambda: Client(int(client.url.split(":")[2])).post(body))
            for _ in range(MOST_WAITING + 10)
        ]
        done = iter(as_completed(asked))
        for _ in range(10):
            refused(next(done).result(), 503)
        goes_on.set()
        assert [future.result().status_code for future in done] == [200] * MOST_WAITING
    assert most == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
NAMES = st.sampled_from(["seed", "truncation", "label", "class_name", "format"]) | st.text(
    max_size=5
)
SETTINGS = st.dictionaries(NAMES, JSON | st.sampled_from([0, 1, 0.5, "png"]), max_size=4)
INPUTS = JSON | st.lists(st.integers(-1, 2**65), max_size=5)
REQUESTS = JSON | st.fixed_dictionaries(
    {}, optional={"inputs": INPUTS | st.fixed_dictionaries({"index": INPUTS}), "params": SETTINGS}
)


def requests_are_answered_or_refused(client: Client, body: Any) -> None:
    answer = client.post(body)
    if answer.status_code != 200:
        refused(answer)
    else:
        assert set(answer.json()) == {"predictions"}


@given(body=REQUESTS | st.binary(max_size=200))
@settings(max_examples=100)
def test_no_request_breaks_it(client: Client, body: Any) -> None:
    requests_are_answered_or_refused(client, body)


@pytest.mark.slow
@given(body=REQUESTS | st.binary(max_size=200))
@settings(max_examples=3000)
def test_no_request_of_thousands_breaks_it(client: Client, body: Any) -> None:
    requests_are_answered_or_refused(client, body)
