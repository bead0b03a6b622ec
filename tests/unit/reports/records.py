"""Records as ``evaluate`` and a scheduled evaluation write them, made up."""

from typing import Any

EXTRACTOR = {
    "kind": "classifier",
    "image_shape": [1, 8, 8],
    "features": 64,
    "classes": 2,
    "accuracy": 0.955,
    "trained_on": 539,
    "sha256": "1fbf21be" * 8,
    "weights": None,
    "input_size": None,
    "input_range": "byte",
}
PROTOCOL = {"name": "fid1350_test", "count": 1350, "split": "test", "seeds": [0, 1, 2]}


def run_record(**changes: Any) -> dict[str, Any]:
    return {
        "scores": {"fid": 874.0612, "recall": 0.18571},
        "intervals": {"fid": [785.698, 962.424]},
        "seeds": {"0": 874.0612, "1": 891.78, "2": 1897.6},
        "floor": {"count": 1350.0, "fid": 52.603, "fid_spread": 16.4277},
        "bias": 65.42898,
        "protocol": PROTOCOL,
        "extractor": EXTRACTOR,
        "batch_norm": {
            "group": 64,
            "fid_batch_statistics": 879.12,
            "gap": -8.7149,
            "gap_se": 7.2726,
            "batch_mate_sensitivity": 0.03830958,
        },
        "data": {
            "image_shape": [8, 8, 1],
            "classes": ["cat", "dog"],
            "counts": {"train": 1079, "select": 359, "test": 359},
        },
        "contents": {
            "commit": None,
            "class_counts": {"train": [1000, 79], "select": [300, 59], "test": [300, 59]},
            "unlabelled": {"train": 0, "select": 0, "test": 0},
            "skipped": {"count": 0, "first": []},
            "ignored": {"count": 0, "first": []},
            "duplicates": {"repeated": 0, "select_in_train": 0, "test_in_train": 0},
        },
        **changes,
    }


def drift_record(**changes: Any) -> dict[str, Any]:
    return {
        "schedule": "nightly",
        "partition": "2026-11-01T03:00",
        "model": "digits",
        "model_version": "7",
        "run_id": "0" * 32,
        "score": {
            "fid": 3432.8,
            "interval": [3218.6, 3647.1],
            "recorded": 3432.8,
            "changed": False,
        },
        "data": None,
        "protocol": PROTOCOL,
        "extractor": EXTRACTOR,
        "drift": "ok",
        "reason": "model unchanged, FID 3,433 as registered",
        **changes,
    }


def new_data(**changes: Any) -> dict[str, Any]:
    """Return what a scheduled evaluation records of new images: here they have drifted."""
    return {
        "path": "/camera/1",
        "count": 1350,
        "skipped": 0,
        "distance": 686.2,
        "interval": [517.0, 856.0],
        "expected": 57.2,
        "variance": 3829.0,
        "p_value": 0.005,
        "drifted": True,
        "fid_old": 874.06,
        "fid_new": 1203.4,
        "classes": [[0.5, 0.5], [1.0, 0.0]],
        "chance": [50.0 + n / 10 for n in range(199)],
        "level": 0.01,
        "tolerance": 0.05,
        **changes,
    }
