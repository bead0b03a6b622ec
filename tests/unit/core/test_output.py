"""Standard output and standard error whose reader is gone, full, or asleep."""

import errno
import io
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.core import output
from pipeline.core.errors import RetryableError
from pipeline.core.output import _GAP, _Unbreakable

FULL = errno.ENOSPC


@pytest.fixture
def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def text_stream(raw: _Unbreakable) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", write_through=True)


def test_writes_to_a_full_disk_succeed_and_the_first_error_is_kept(full: int) -> None:
    raw = _Unbreakable(full, None)
    stream = text_stream(raw)
    assert print("a" * 100_000, "b", file=stream, flush=True) is None
    stream.close()
    assert raw.lost is not None
    assert raw.lost.errno == FULL


@pytest.mark.parametrize("patience", [None, 60.0])
def test_a_reader_that_left_is_an_error_of_its_own(patience: float | None) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    raw = _Unbreakable(writer, patience)
    text_stream(raw).write("line\n")
    assert isinstance(raw.lost, BrokenPipeError)


def test_all_arrives_at_a_slow_reader() -> None:
    reader, writer = os.pipe()
    text = "".join(f"{number}\n" for number in range(100_000))
    os.set_blocking(writer, False)  # as another process that has the pipe may have set it

    def write() -> None:
        stream = text_stream(_Unbreakable(writer, None))
        stream.write(text)
        stream.flush()
        os.close(writer)

    threading.Thread(target=write, daemon=True).start()
    with open(reader, encoding="utf-8") as source:
        assert source.read() == text


def test_a_reader_that_sleeps_is_waited_for_once() -> None:
    reader, writer = os.pipe()
    raw = _Unbreakable(writer, 0.2)
    for _ in range(3):  # a wait each would not end in time if patience were longer
        raw.write(b"x" * 1_000_000)
        raw.patience = 3600.0
    assert raw.lost is None
    taken = len(os.read(reader, 1_000_000))
    assert 0 < taken < 1_000_000
    raw.write(b"awake\n")
    assert os.read(reader, 1000) == _GAP + b"awake\n"


def test_a_reader_that_falls_asleep_again_is_not_waited_for() -> None:
    reader, writer = os.pipe()
    raw = _Unbreakable(writer, 0.2)
    raw.write(b"x" * 1_000_000)
    os.read(reader, select.PIPE_BUF)  # a page, which the mark of the gap takes a part of
    blocked = threading.Thread(target=raw.write, args=(b"y" * 5000,), daemon=True)
    blocked.start()
    blocked.join(60)
    assert not blocked.is_alive()


def test_a_result_that_is_missed_is_told(full: int) -> None:
    with pytest.raises(RetryableError, match=r"output cannot be written \(No space left"):
        output.write_result(full, "{}\n")
    reader, writer = os.pipe()
    output.write_result(writer, "{}\n")
    assert os.read(reader, 10) == b"{}\n"
    os.close(reader)
    output.write_result(writer, "{}\n")  # the reader had enough


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_is_there_at_once(unbuffered: str) -> None:
    reader, writer = os.pipe()
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    code = "print('line', file=sys.stderr); sys.stdin.read()"
    process = in_process(code, env=environment, stdin=subprocess.PIPE, stderr=writer)
    with open(reader, "rb") as source:
        assert source.readline() == b"line\n"
    process.communicate(timeout=60)


def in_process(code: str, **options: object) -> "subprocess.Popen[bytes]":
    start = f"from pipeline.core import output; output.install(); import os, sys, time; {code}"
    return subprocess.Popen([sys.executable, "-c", start], **options)  # type: ignore[call-overload, no-any-return]


def test_a_file_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "file = open('database', 'wb'); os.write(2, b'noise'); print('x', file=sys.stderr); "
        "assert output.lost_result() is None; print('y'); "
        "sys.exit(output.lost_result().errno)"
    )
    for descriptors in ((0,), (1,), (0, 1, 2)):
        started = in_process(
            code if 1 in descriptors else code.partition(" assert")[0],
            cwd=tmp_path,
            preexec_fn=lambda closed=descriptors: [os.close(each) for each in closed],
            stderr=None if 2 in descriptors else subprocess.DEVNULL,
        )
        assert started.wait(60) == (errno.EBADF if 1 in descriptors else 0)
        assert (tmp_path / "database").read_bytes() == b""


@pytest.mark.parametrize(("nohup", "code", "done"), [(True, 0, True), (False, 143, False)])
def test_a_terminal_that_goes_away(nohup: bool, code: int, done: bool, tmp_path: Path) -> None:
    """It ends the work in an orderly way, and not at all under nohup."""
    master, slave = os.openpty()
    work = (
        "from pipeline.cli.signals import terminate_as_exit\n"
        "with terminate_as_exit():\n"
        "    print('begun', file=sys.stderr)\n"
        "    while os.path.exists('terminal'): time.sleep(0.01)\n"
        "    time.sleep(0.5)\n"
        "    print('still here', file=sys.stderr)\n"
        "    open('done', 'w')\n"
    )
    (tmp_path / "terminal").touch()

    def lead() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(slave), os.O_RDWR))  # makes it the controlling terminal
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)

    process = in_process(
        f"exec({work!r})", cwd=tmp_path, preexec_fn=lead, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    with open(master, "rb", buffering=0) as terminal:
        assert terminal.readline() == b"begun\r\n"
    (tmp_path / "terminal").unlink()
    assert process.wait(60) == code
    assert (tmp_path / "done").exists() == done
