"""Prove and measure the library on a GPU in a few minutes.

``python -m tests.benchmarks.gpu --minutes 6 --out DIR`` writes ``gpu.json`` and ``gpu.md`` there, anew
after each row. ``--dry-run`` does all of it on the CPU, with sizes that say nothing.
"""

import argparse
import importlib
import os
import platform
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import torch

from tests.benchmarks.gpu.session import Session, Values, failure, guarded

PARTS = (
    ("1 tests", "suite", 0.15),
    ("2 agreement", "agreement", 0.12),
    ("3 throughput", "throughput", 0.36),
    ("4 synchronised", "synchronised", 0.08),
    ("5 families", "families", 0.06),
    ("6 scoring", "scoring", 0.08),
    ("7 constants", "constants", 0.04),
    ("8 compiled", "compiled", 0.11),
)
"""Name, module, and share of the time; what a part leaves, the next has."""
ENVIRONMENT = {
    # A group of one needs no network.
    "NCCL_SOCKET_IFNAME": "lo",
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_IB_DISABLE": "1",
}
_PATIENCE = 45
"""Seconds after the end at which even a row that cannot be interrupted is given up."""


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--parts", default="", help="numbers of some, such as 1,2,3")
    given = parser.parse_args()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not given.dry_run and not torch.cuda.is_available():
        sys.exit("there is no CUDA device; --dry-run takes none")
    device = torch.device("cpu" if given.dry_run else "cuda:0")
    if given.dry_run:
        torch.set_num_threads(1)
    session = Session(given.out, given.minutes, device, given.dry_run, _about(device))
    session.write()
    _give_up_after(60 * given.minutes + _PATIENCE)
    chosen = given.parts.split(",") if given.parts else [name[0] for name, _, _ in PARTS]
    for name, module, share in PARTS:
        if name[0] in chosen:
            _part(session, name, module, share)
    verdicts = Counter(row.verdict.partition(":")[0] for row in session.rows)
    session.add("the end", {**verdicts, "seconds": session.spent()}, "measured")


def _part(session: Session, name: str, module: str, share: float) -> None:
    session.begin(name, share)
    try:
        importlib.import_module(f"tests.benchmarks.gpu.{module}").run(session)
    except Exception as error:
        session.add(name, {}, failure(error))


def _about(device: torch.device) -> Values:
    import bngan

    found: Values = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bngan": bngan.__version__,
        "processor": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads",
    }
    return found | (guarded("device", _device) if device.type == "cuda" else {"device": "CPU"})


def _device() -> Values:
    """Ask the GPU, which begins to use it."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": f"{properties.name}, {properties.multi_processor_count} multiprocessors, "
        f"{properties.total_memory / 1e9:.0f} GB",
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        "NCCL": ".".join(map(str, torch.cuda.nccl.version())),
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "driver": _driver(),
    }


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError as error:
        return failure(error)
    return told.stdout.strip()


def _give_up_after(seconds: float) -> None:
    """End the process if a row hangs where nothing can interrupt it; rows are on disk by then."""

    def end() -> None:
        print("given up: a row hangs", flush=True)
        os._exit(3)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
