"""Data: from prepared arrays to batches, beside torchvision's ImageFolder; memory; preparation.

``python -m tests.benchmarks.loading [MNIST]``, where MNIST is a folder of its parquet files.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bngan.data.dataset import ImageSplit, sample_order
from bngan.data.images import from_uint8
from tests.benchmarks.rates import Row, rates, table
from tests.unit.workflow.stages.test_prepare import prepared

SIDE, COUNT, BATCH = 32, 10_000, 64
FEW, MANY = 100_000, 1_000_000


def folder_of_pngs(folder: Path, count: int) -> Path:
    """Images as others keep them: one file each, in one class."""
    (folder / "all").mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(count):
        coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture.save(folder / "all" / f"{index}.png")
    return folder


def batches(data: ImageSplit, count: int) -> Iterator[torch.Tensor]:
    """As training takes them."""
    for start in range(0, count, BATCH):
        images, _ = data.take(sample_order(0, np.arange(start, start + BATCH), len(data)))
        yield from_uint8(images)


def written(folder: Path, count: int) -> ImageSplit:
    """A prepared split of random images, mapped from its file."""
    path = folder / f"{count}.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE, 3))
    array[:] = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    array.flush()
    return ImageSplit(np.load(path, mmap_mode="r"))


def loading(folder: Path) -> Row:
    """Images per second of wall time: the others have two processes of their own for it."""
    pictures = folder_of_pngs(folder / "pngs", COUNT)
    shaped = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
    theirs = DataLoader(
        ImageFolder(str(pictures), shaped), BATCH, shuffle=True, num_workers=2, drop_last=True
    )
    ours = written(folder, COUNT)
    found = rates(
        {
            "ours": lambda: float(sum(len(batch) for batch in batches(ours, 5 * COUNT))),
            "theirs": lambda: float(sum(len(images) for images, _ in theirs)),
        },
        rounds=3,
        clock=time.perf_counter,
    )
    what = f"prepared array to batches of {BATCH}, {SIDE}x{SIDE}x3, one process"
    beside = "ImageFolder + DataLoader, 2 workers"
    return Row(what, found["ours"], "images/s", beside, found["theirs"], least=20)


_MEMORY = """
import re, sys
from pathlib import Path
import numpy as np
from bngan.data.dataset import ImageSplit
from tests.benchmarks.loading import batches
data = ImageSplit(np.load(sys.argv[1], mmap_mode="r"))
for _ in batches(data, 2 * len(data)):
    pass
print(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def memory(folder: Path) -> Row:
    """Anonymous memory after two epochs: mapped pages belong to the system's cache."""
    used = []
    for count in (MANY, FEW):
        written(folder, count)
        command = [sys.executable, "-c", _MEMORY, str(folder / f"{count}.npy")]
        used.append(float(subprocess.run(command, capture_output=True, check=True).stdout) / 1024)
        (folder / f"{count}.npy").unlink()
    what = f"anonymous memory, {MANY:,} images by {FEW:,}"
    return Row(what, used[0], "MiB", f"{FEW:,}", used[1], most=1.1)


def preparation(path: Path, folder: Path) -> list[Row]:
    """Images per CPU-second of ``prepare``, for all of them and for a tenth."""
    found = []
    for number, limit in enumerate((None, 6_000)):
        started = time.process_time()
        _, summary = prepared(path, folder / f"prepared{number}", limit=limit)
        images = sum(summary["counts"].values())
        found.append(images / (time.process_time() - started))
    return [
        Row("prepare, MNIST's parquet", found[0], "images/s", least=5000),
        Row("the same", found[0], "images/s", "data.limit=6000", found[1]),
    ]


def rows(mnist: Path | None) -> list[Row]:
    """All of it; preparation only where there is something to prepare."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bngan-") as temporary:
        folder = Path(temporary)
        found = [loading(folder), memory(folder)]
        return found + (preparation(mnist, folder) if mnist else [])


if __name__ == "__main__":
    print(table(rows(Path(sys.argv[1]) if len(sys.argv) > 1 else None)))
