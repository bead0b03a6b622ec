"""Every stage under every fault: how it ends, and whether the same command then completes it.

``python -m tests.faults.matrix --write`` runs all cells (an hour), one at a time, and writes the table
into docs/reliability.md. ``--only PATTERN ...`` runs those whose ``stage.fault`` matches, in that
order; the rest of the table stays as it was.
"""

import argparse
import contextlib
import datetime
import fnmatch
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from tests.environment import ROOT
from tests.faults.processes import left, marked, shared_memory
from tests.faults.world import STAGES, Ended, World, short_folder

TABLE, RECORD = ROOT / "docs" / "reliability.md", ROOT / "docs" / "reliability.json"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
LINGERS = 30.0
"""Seconds in which what a driver had started must be gone after it."""
RAY = "train"


@dataclass(frozen=True)
class Fault:
    """What happens to a run.

    Attributes:
        strike: does it, given the world and the driver's process.
        codes: exit codes that may follow; ``FAILS`` is any failure that says why in a line.
        server: whether it wants MLflow's server.
        stages: those that it can happen to.
        trains: strikes only once there is a checkpoint.
    """

    name: str
    strike: Callable[[World, int], None]
    codes: tuple[int, ...]
    server: bool = False
    stages: tuple[str, ...] = STAGES
    trains: bool = False


DONE, FAILS = (0,), (0, 3)


def _signal(number: int) -> Callable[[World, int], None]:
    return lambda world, pid: os.kill(pid, number)


def _server(mode: str, seconds: float) -> Callable[[World, int], None]:
    def strike(world: World, pid: int) -> None:
        world.proxy.set(mode)
        if seconds:
            back = threading.Timer(seconds, world.proxy.set, ("through",))
            back.daemon = True
            back.start()

    return strike


def _process(command: str, number: int, seconds: float = 0.0) -> Callable[[World, int], None]:
    """A signal to one of Ray's processes, and after so many seconds SIGCONT."""

    def strike(world: World, pid: int) -> None:
        victim = next(iter(marked(world.mark, command)))
        os.kill(victim, number)
        if seconds:
            threading.Timer(seconds, os.kill, (victim, signal.SIGCONT)).start()

    return strike


def _clock(seconds: float) -> Callable[[World, int], None]:
    return lambda world, pid: (world.folder / "clock").write_text(str(seconds)) and None


WORKER = "ray::RayTrainWorker"
FAULTS = (
    Fault("Ctrl-C", _signal(signal.SIGINT), (130,)),
    Fault("SIGTERM", _signal(signal.SIGTERM), (143,)),
    Fault("driver killed", _signal(signal.SIGKILL), (-9,)),
    Fault("disk full", lambda world, pid: world.fill(), FAILS),
    Fault("clock a day ahead", _clock(86400.0), DONE),
    Fault("clock a day back", _clock(-86400.0), DONE),
    *(
        Fault(f"MLflow {how} for {span}", _server(mode, seconds), codes, server=True)
        for mode, how in (("gone", "gone"), ("500", "answers 500"), ("hangs", "hangs"))
        for span, seconds, codes in (("8 s", 8.0, DONE), ("ever", 0.0, FAILS))
    ),
    *(
        Fault(name, strike, codes, stages=(RAY,), trains=True)
        for name, strike, codes in (
            ("Ctrl-C at a checkpoint", _signal(signal.SIGINT), (130,)),
            ("SIGTERM at a checkpoint", _signal(signal.SIGTERM), (143,)),
            ("driver killed at a checkpoint", _signal(signal.SIGKILL), (-9,)),
            ("disk full at a checkpoint", lambda world, pid: world.fill(), FAILS),
            ("worker killed", _process(WORKER, signal.SIGKILL), DONE),
            ("worker stopped for 8 s", _process(WORKER, signal.SIGSTOP, 8.0), DONE),
            ("worker stopped for ever", _process(WORKER, signal.SIGSTOP), FAILS),
            ("Ray's controller killed", _process("ray::TrainController", signal.SIGKILL), FAILS),
            ("Ray's raylet killed", _process("raylet/raylet", signal.SIGKILL), FAILS),
            # Ray itself ends a driver that has lost it.
            ("Ray's head (GCS) killed", _process("gcs/gcs_server", signal.SIGKILL), (1, 3)),
        )
    ),
)


@dataclass
class Cell:
    """What came of a stage under a fault."""

    stage: str
    fault: str
    code: int | None
    seconds: float
    last: str
    again: float
    """Seconds of the rerun; 0 where none was needed."""
    problems: list[str]


def cells(pattern: str = "*") -> list[tuple[str, Fault]]:
    """All that apply, those without a server first."""
    pairs = [(stage, fault) for fault in FAULTS for stage in STAGES if stage in fault.stages]
    return [pair for pair in pairs if fnmatch.fnmatch(f"{pair[0]}.{pair[1].name}", pattern)]


def undisturbed(world: World, until: str = STAGES[-1]) -> dict[str, object]:
    """The result of every stage up to one; the world before each is kept by its name."""
    results = dict[str, object]()
    for stage in STAGES[: STAGES.index(until) + 1]:
        world.keep(stage)
        ended = world.run(stage)
        assert ended.code == 0, ended.said
        results[stage] = world.result(stage)
    return results


def cell(world: World, stage: str, fault: Fault, expected: object) -> Cell:
    """Strike the stage, look at how it ends, and run the same again if it has not been done."""
    world.put_back(stage)
    memory = shared_memory()
    when = world.trains if fault.trains else world.begun(stage)
    ended = world.run(stage, when=when, fault=lambda pid: fault.strike(world, pid))
    problems = judged(fault, ended)
    problems += [f"process left: {line[:60]}" for line in left(world.mark, LINGERS).values()]
    world.forgive()
    world.proxy.set("through")
    again = 0.0
    if ended.code:
        rerun = world.run(stage)
        again = rerun.seconds
        if rerun.code != 0:
            problems.append(f"rerun: exit code {rerun.code}: {rerun.last}")
    problems += world.trouble()
    if world.result(stage) != expected:
        problems.append("not the undisturbed result")
    problems += [f"shared memory left: {name}" for name in shared_memory() - memory]
    print(ended.said, file=sys.stderr) if problems else None
    last = ended.last.replace(str(world.folder), "...")
    return Cell(stage, fault.name, ended.code, ended.seconds, last, again, problems)


def judged(fault: Fault, ended: Ended) -> list[str]:
    """What is wrong with how a run has ended."""
    if ended.code is None:
        return ["hangs"]
    problems = []
    if "did not come to pass" in ended.said:
        problems.append("over before the fault")
    if ended.code not in fault.codes:
        problems.append(f"exit code {ended.code}")
    if "Traceback (most recent call last)" in ended.said:
        problems.append("a traceback in place of a line")
    return problems


def run(chosen: list[tuple[str, Fault]]) -> Iterator[Cell]:
    """Their cells, as they are done."""
    for server in (False, True):
        part = [(stage, fault) for stage, fault in chosen if fault.server == server]
        if not part:
            continue
        with World(short_folder(), server) as world:
            expected = undisturbed(world, max((stage for stage, _ in part), key=STAGES.index))
            for stage, fault in part:
                try:
                    yield cell(world, stage, fault, expected[stage])
                except Exception as error:  # the harness's, of which the other cells know nothing
                    yield Cell(stage, fault.name, None, 0.0, "", 0.0, [f"not run: {error!r}"])


def table(found: list[Cell]) -> str:
    """As markdown."""
    lines = ["| stage | fault | ends with | after | rerun | last line | |", "| --- " * 7 + "|"]
    for each in found:
        code = "hung" if each.code is None else each.code
        again = f"{each.again:.0f} s" if each.again else "not needed"
        verdict = "; ".join(each.problems) or "as undisturbed"
        last = each.last.replace("|", "\\|")[:110]
        row = (each.stage, each.fault, code, f"{each.seconds:.0f} s", again, f"`{last}`", verdict)
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def write(found: list[Cell]) -> None:
    """Into the document, beside what is known of the other cells."""
    known = {}
    with contextlib.suppress(FileNotFoundError):
        known = {(c["stage"], c["fault"]): Cell(**c) for c in json.loads(RECORD.read_text())}
    known |= {(each.stage, each.fault): each for each in found}
    order = [(stage, fault.name) for stage, fault in cells()]
    kept = [known[key] for key in order if key in known]
    RECORD.write_text(json.dumps([asdict(each) for each in kept], indent=1) + "\n")
    text = TABLE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    good = sum(not each.problems for each in kept)
    head = (
        f"{datetime.date.today():%d %B %Y}, {os.cpu_count()} cores, {platform.machine()}: "
        f"{len(kept)} of {len(order)} cells run, {good} as they should be."
    )
    TABLE.write_text(f"{before}{BEGIN}\n{head}\n\n{table(kept)}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=["*"], metavar="PATTERN")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    found = list[Cell]()
    for each in run([pair for pattern in given.only for pair in cells(pattern)]):
        found.append(each)
        print(time.strftime("%H:%M:%S"), json.dumps(asdict(each)), flush=True)
        if given.write:
            write(found)
    sys.exit(any(each.problems for each in found))


if __name__ == "__main__":
    main()
