"""Signs of collapse in the records of a training."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

Records = Sequence[Mapping[str, float]]
"""Means and scores at points of a training, in order; not every record has every value."""
WORSE_SCORE = 5.0
"""Multiple of the best score that means a collapse."""
NEAR_SCORE = 1.5
"""Multiple of the best score that is still fine."""
LARGE_GRADIENT = 100.0
"""Gradient norm that is suspicious (Chintala et al., "How to train a GAN?", 2016)."""
LARGE_GAP = 20.0
"""Gap between mean logits of real and of fake images at which the discriminator is certain."""
JUMP = 10.0
"""Multiple of the median of earlier values that is a jump."""
_ENOUGH = 5
"""Number of records that make a median."""
_BLIND = 1e-4


def is_healthy(records: Records) -> bool:
    """Return whether the last record, which has a score, is free of signs and near the best score.

    A slow decline raises no alarm until late. A return to such a record would only wait for the
    next alarm.
    """
    scores = _course(records, "fid_select")
    return not collapse_signs(records) and bool(scores) and scores[-1] <= NEAR_SCORE * min(scores)


def collapse_signs(records: Records) -> dict[str, str]:
    """Return the signs of collapse at the last record: a message by kind of sign.

    Kinds: ``score`` (``fid_select`` is many times the best), ``classes`` (``classes_hit_select``
    has halved), ``gradient_g`` and ``gradient_d`` (``gradient_norm_*`` is large, and was not),
    ``gap`` (the same for ``logit_gap``) and ``blind`` (``logit_gap`` has always been 0).
    """
    signs = {
        "score": _score(_course(records, "fid_select")),
        "classes": _classes(_course(records, "classes_hit_select")),
        "gap": _jump("logit gap", _course(records, "logit_gap"), LARGE_GAP),
        "blind": _blind(_course(records, "logit_gap")),
    }
    for name in ("g", "d"):
        what, norms = f"gradient norm of {name.upper()}", _course(records, f"gradient_norm_{name}")
        signs[f"gradient_{name}"] = _jump(what, norms, LARGE_GRADIENT)
    return {kind: text for kind, text in signs.items() if text}


def early_stopping_point(records: Records, patience: int | None) -> int | None:
    """Return the number of records at which early stopping ends the training; None if not yet.

    Training stops at the first record that brings the number of scores (``fid_select``) since the
    best one to ``patience``. None for ``patience``: training never stops early.
    """
    best, waited = math.inf, 0
    for number, record in enumerate(records, 1):
        if "fid_select" not in record:
            continue
        waited = 0 if record["fid_select"] <= best else waited + 1
        best = min(best, record["fid_select"])
        if waited == patience:
            return number
    return None


def _course(records: Records, name: str) -> list[float]:
    """Return the values of ``name`` up to the last record."""
    return [record[name] for record in records if name in record]


def _score(course: list[float]) -> str | None:
    if len(course) < 2 or course[-1] <= WORSE_SCORE * min(course[:-1]):
        return None
    return f"FID {course[-1]:.3g} after a best of {min(course[:-1]):.3g}"


def _classes(course: list[float]) -> str | None:
    if len(course) < 2 or 2 * course[-1] > max(course[:-1]):
        return None
    return f"images of {course[-1]:.0f} classes after {max(course[:-1]):.0f}"


def _jump(name: str, course: list[float], least: float) -> str | None:
    if len(course) <= _ENOUGH:
        return None
    usual, last = median(abs(value) for value in course[:-1]), abs(course[-1])
    if last < max(least, JUMP * usual):
        return None
    return f"the {name} is {last:.3g}, and was {usual:.3g}"


def _blind(course: list[float]) -> str | None:
    if len(course) <= _ENOUGH or max(abs(value) for value in course) > _BLIND:
        return None
    return "the discriminator gives real and generated images the same mean logit"
