"""How long distances take, beside the tools they agree with.

``python -m tests.benchmarks.metrics`` prints seconds (median of 3, interleaved) and the peak memory
that each of ours adds. ``pip install prdc`` first for the reference of density and coverage.
"""

import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import _compute_fid

from bngan.metrics.fid import frechet_distance, frechet_estimate
from bngan.metrics.kid import kernel_estimate
from bngan.metrics.precision_recall import manifold_estimates

COUNT, WIDTH, REPEATS = 10_000, 2048, 3


def sqrtm_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The textbook's way: the root of the covariances' product, whatever it costs."""
    one, other = (np.cov(x.astype(np.float64), rowvar=False) for x in (a, b))
    means = np.square(a.mean(0, dtype=np.float64) - b.mean(0, dtype=np.float64)).sum()
    root = np.real(scipy.linalg.sqrtm(one @ other))
    return float(means + np.trace(one) + np.trace(other) - 2 * np.trace(root))


def torchmetrics_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Its last step, with the moments it would have collected."""
    tensors = [torch.from_numpy(x).double() for x in (a, b)]
    means, covariances = [x.mean(0) for x in tensors], [x.T.cov() for x in tensors]
    return float(_compute_fid(means[0], covariances[0], means[1], covariances[1]))


def torch_fidelity_kernel(a: np.ndarray, b: np.ndarray) -> float:
    """100 subsets of 1,000."""
    found = kid_features_to_metric(torch.from_numpy(a), torch.from_numpy(b), verbose=False)
    return float(found["kernel_inception_distance_mean"])


def torch_fidelity_manifold(a: np.ndarray, b: np.ndarray) -> float:
    """Precision and recall."""
    tensors = torch.from_numpy(a), torch.from_numpy(b)
    return float(prc_features_to_metric(*tensors, verbose=False)["precision"])


def prdc_manifold(a: np.ndarray, b: np.ndarray) -> float:
    """All four, by Naeem et al.'s own code."""
    from prdc import compute_prdc

    return float(compute_prdc(real_features=b, fake_features=a, nearest_k=3)["precision"])


TOOLS: dict[str, dict[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "Frechet distance": {
        "bngan": frechet_distance,
        "torchmetrics": torchmetrics_distance,
        "scipy.linalg.sqrtm": sqrtm_distance,
    },
    "Frechet distance, 40 values of the jackknife": {
        "bngan": lambda a, b: frechet_estimate(a, b).value,
    },
    "Kernel distance": {
        "bngan, all pairs, with the jackknife": lambda a, b: kernel_estimate(a, b).value,
        "torch-fidelity, 100 x 1,000": torch_fidelity_kernel,
    },
    "Precision, recall, density, coverage": {
        "bngan, with the jackknife": lambda a, b: manifold_estimates(a, b)["precision"].value,
        "torch-fidelity, precision and recall": torch_fidelity_manifold,
        "prdc": prdc_manifold,
    },
}


def memory_in_use(peak: bool) -> float:
    """GB that this process holds, or the most since the peak was last forgotten (Linux)."""
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", status)
    return int(kilobytes) / 2**20


def compare(tools: dict[str, Any], fake: np.ndarray, real: np.ndarray) -> None:
    """Print a row for each tool."""
    seconds: dict[str, list[float]] = {name: [] for name in tools}
    found, memory = {}, {}
    for _ in range(REPEATS):
        for name, tool in tools.items():
            Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
            before, start = memory_in_use(peak=False), time.perf_counter()
            try:
                found[name] = tool(fake, real)
            except ImportError:
                continue
            seconds[name].append(time.perf_counter() - start)
            memory[name] = memory_in_use(peak=True) - before
    ours = statistics.median(next(iter(seconds.values())))
    for name, value in found.items():
        median = statistics.median(seconds[name])
        print(
            f"| {name} | {value:.6g} | {median:.2f} s | {median / ours:.1f} | +{memory[name]:.2f} GB |",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(64, WIDTH)).astype(np.float32)  # few directions, as real features
    fake, real = (
        np.maximum(
            random.normal(size=(COUNT, 64)) @ mixing / 8 + random.normal(size=(COUNT, WIDTH)), 0
        ).astype(np.float32)
        for _ in range(2)
    )
    for measure, tools in TOOLS.items():
        print(
            f"\n| {measure} | value | median | times ours | memory |\n| --- | --- | --- | --- | --- |"
        )
        compare(tools, fake, real)


if __name__ == "__main__":
    main()
