"""The harness does what it says; and, slowly, every cell of the matrix is as it should be."""

import contextlib
import http.server
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults import soak
from tests.faults.matrix import FAULTS, Cell, Fault, cell, cells, judged, table, undisturbed
from tests.faults.processes import MARK, left, marked
from tests.faults.proxy import Proxy
from tests.faults.world import Ended, World, short_folder


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = Proxy(server.server_port)
    yield found
    found.close()
    server.shutdown()
    server.server_close()


def asked(proxy: Proxy) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}", timeout=1) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.code)
    except TimeoutError:
        return "hangs"
    except urllib.error.URLError as error:
        return "gone" if isinstance(error.reason, ConnectionRefusedError) else repr(error)


def test_a_proxy_fails_as_it_is_told_and_comes_back(proxy: Proxy) -> None:
    for mode in ("500", "hangs", "gone"):
        assert asked(proxy) == "hello"
        proxy.set(mode)
        assert asked(proxy) == mode
        proxy.set("through")
    assert asked(proxy) == "hello"


def test_processes_are_found_by_what_they_inherit_and_ended() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    child = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, MARK: "test"}, stdin=subprocess.PIPE
    )
    # Between fork and exec a child is called as its parent is.
    while len(marked("test")) < 2 or len(marked("test", "input()'")) != 1:
        assert child.poll() is None
    assert len(left("test", 0.0)) == 2
    child.communicate()
    assert left("test", 10.0) == {}


def test_how_a_run_may_end() -> None:
    fault = Fault("x", lambda world, pid: None, (0, 3))
    assert judged(fault, Ended(3, 1.0, "error: the disk is full")) == []
    assert judged(fault, Ended(None, 1.0, "")) == ["hangs"]
    assert judged(fault, Ended(1, 1.0, "error: no")) == ["exit code 1"]
    said = "Traceback (most recent call last):\n  x\nOSError: y"
    assert judged(fault, Ended(3, 1.0, said)) == ["a traceback in place of a line"]


def test_the_table_says_what_came_of_each_cell() -> None:
    assert len(cells()) == sum(len(fault.stages) for fault in FAULTS)
    assert {stage for stage, _ in cells("train.*")} == {"train"}
    good, bad = (
        Cell("train", "x", 0, 9.0, "done", 0.0, []),
        Cell("train", "y", None, 9.0, "", 8.0, ["hangs"]),
    )
    _, _, first, second = table([good, bad]).splitlines()
    assert first == "| train | x | 0 | 9 s | not needed | `done` | as undisturbed |"
    assert second.endswith("| hung | 9 s | 8 s | `` | hangs |")


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk wants root")
def test_a_workspace_without_room_is_put_back() -> None:
    with World(short_folder(), server=False) as world:
        (world.workspace / "file").write_text("before")
        world.keep("start")
        (world.workspace / "file").write_text("after")
        world.fill()
        with pytest.raises(OSError, match="No space"):
            (world.workspace / "more").write_bytes(bytes(100_000))
        world.put_back("start")
        assert [path.read_text() for path in world.workspace.iterdir()] == ["before"]
    assert not world.folder.exists()


def test_a_soak_tells_what_grows_and_what_went_wrong() -> None:
    def rounds(**last: object) -> list[soak.Round]:
        plain = dict(fault="x", at=1.0, struck=True, codes=[0], last=[], seconds=1.0)
        plain |= dict(disk=5.0, books=1.0)
        plain |= dict(temporary=0, sessions=0, descriptors=9, threads=3, memory=500.0, problems=[])
        return [*(soak.Round(**plain) for _ in range(5)), soak.Round(**{**plain, **last})]

    assert soak.verdict(rounds()) == []
    assert soak.verdict(rounds(memory=600.0)) == ["memory grew by 100.0 in 4 rounds"]
    assert soak.verdict(rounds(problems=["hangs"])) == ["round 6: hangs"]
    assert soak.verdict([replace(each, struck=False) for each in rounds()]) == [
        "no fault has struck"
    ]
    assert "too few rounds" in soak.verdict(rounds()[:2])[0]


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[bool, tuple[World, dict[str, object]]]]:
    """By whether MLflow is a server, as they are wanted."""
    with contextlib.ExitStack() as stack:

        class Worlds(dict[bool, tuple[World, dict[str, object]]]):
            def __missing__(self, server: bool) -> tuple[World, dict[str, object]]:
                world = stack.enter_context(World(short_folder(), server))
                self[server] = world, undisturbed(world)
                return self[server]

        yield Worlds()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("stage", "fault"), cells(), ids=[f"{stage}-{fault.name}" for stage, fault in cells()]
)
def test_a_run_ends_clearly_and_a_rerun_completes_it(
    worlds: dict[bool, tuple[World, dict[str, object]]], stage: str, fault: Fault
) -> None:
    if fault.name.startswith("disk") and os.geteuid():
        pytest.skip("a small disk wants root")
    world, expected = worlds[fault.server]
    assert cell(world, stage, fault, expected[stage]).problems == []
