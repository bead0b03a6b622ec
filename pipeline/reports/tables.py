"""Score rows, labels and notes for HTML, Markdown and the terminal."""

from collections.abc import Mapping
from typing import Any

from bngan.data.hub import pinned
from bngan.metrics.agreement import Agreement
from pipeline.config.schema import Config
from pipeline.reports.page import as_text, readable

LABELS = {
    "fid": "FID ↓",
    "fid_infinity": "FID∞ ↓",
    "kid": "KID ↓",
    "mind": "MIND ↓",
    "inception_score": "Inception Score ↑",
    "precision": "Precision ↑",
    "recall": "Recall ↑",
    "density": "Density ↑",
    "coverage": "Coverage ↑",
    "classes_hit": "Classes hit ↑",
    "class_divergence": "Class divergence ↓",
    "authenticity": "Authenticity ↑",
    "data_copying": "Data copying C_T",
}
"""Label of each score, with an arrow if higher or lower is better."""


def adaptation(record: Mapping[str, Any]) -> str:
    """Return a sentence on the base of an adaptation, to follow others; empty if there is none."""
    if not (adapted := record.get("adapted")):
        return ""
    return f" Adapted from {adapted['base']}; what differs from it: {adapted['differs']}."


def data_summary(config: Config, record: Mapping[str, Any]) -> str:
    """Return a sentence on the data: source with its commit, size, classes and splits."""
    data, source = record["data"], pinned(config.data.path, record["contents"]["commit"])
    height, width, channels = data["image_shape"]
    counts = ", ".join(f"{count:,} to {split}" for split, count in data["counts"].items())
    classes = f"{len(data['classes'])} classes" if data["classes"] else "no classes"
    return f"{source}: {height} x {width} pixels, {channels} channels, {classes}; {counts}."


def warnings(record: Mapping[str, Any]) -> list[str]:
    """Return the notes that a reader needs before trusting the scores."""
    notes, kind = [], record["extractor"]["kind"]
    if kind == "random":
        notes.append(
            "Features come from an untrained network: compare scores within this dataset only, and "
            "trust your eyes more."
        )
    agreement = record.get("agreement")  # absent from records of earlier versions
    if agreement and not (found := Agreement(**agreement)).sees_all:
        notes.append(f"{found.describe()}. Trust your eyes more.")
    count, floor = record["protocol"]["count"], record["floor"]
    if seen := record.get("adapted", {}).get("seen"):  # absent from records of earlier versions
        notes.append(
            f"The base was trained on {seen:,} of the {count:,} real images: scores on them flatter "
            "what it has learned by heart."
        )
    if floor["count"] < count:
        notes.append(
            "Too few unseen real images for a floor at the score's own size: with fewer images the "
            "floor comes out higher."
        )
    fid, bias = record["scores"]["fid"], record["bias"]
    if count <= record["extractor"]["features"]:
        notes.append(
            f"{count:,} images are too few for {record['extractor']['features']:,} features: their "
            "covariance is singular, and FID depends on the number of images more than on the model."
        )
    elif bias > fid / 2:
        notes.append(
            f"Of the FID {readable(fid)}, {readable(bias)} come from {count:,} being few images: so "
            "many of the same distribution would get that. More would tell generators apart better."
        )
    return notes


def score_rows(record: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return for each score its label, its value, its interval, and the score of real images."""
    scores, floor = record["scores"], record["floor"]
    rows = []
    for name, label in LABELS.items():
        if name not in scores:
            continue
        real = readable(floor[name]) if name in floor else ""
        if f"{name}_spread" in floor:
            real += f" ± {readable(floor[f'{name}_spread'])}"
        span = as_text(record["intervals"].get(name))
        rows.append((label, readable(scores[name]), span, real))
    return rows
