"""What the pyarrow that is installed raises where an object store is away, or refuses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

from pipeline.storage.pyarrow_errors import is_temporary
from tests.ports import reserve_port


def failure(port: int) -> OSError:
    """Return the error of a request to the object store on a port of this machine."""
    store = S3FileSystem(
        access_key="key",
        secret_key="secret",
        region="us-east-1",
        scheme="http",
        endpoint_override=f"127.0.0.1:{port}",
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),
        connect_timeout=5,
        request_timeout=1,
    )
    with pytest.raises(OSError, match="AWS Error") as caught:
        store.get_file_info("bucket/workspace/file")
    return caught.value


@contextmanager
def object_store(status: int) -> Iterator[int]:
    """Answer every request with ``status``; the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_PUT = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found.server_port
        found.shutdown()


def test_a_store_that_is_not_there_may_be_back() -> None:
    assert is_temporary(failure(reserve_port()))


@pytest.mark.parametrize(
    ("status", "temporary"), [(500, True), (503, True), (400, False), (403, False)]
)
def test_an_answer_says_whether_to_try_again(status: int, temporary: bool) -> None:
    with object_store(status) as port:
        assert is_temporary(failure(port)) is temporary


def test_errors_of_the_system_say_it_by_their_kind() -> None:
    assert is_temporary(ConnectionRefusedError(111, "refused"))
    assert is_temporary(TimeoutError())
    assert not is_temporary(PermissionError(13, "not yours"))
    assert not is_temporary(ValueError("no such thing"))
