from typing import Any

import pytest

from bngan.diagnostics.collapse import collapse_signs, early_stopping_point, is_healthy

FINE: dict[str, float] = {
    "fid_select": 50.0,
    "classes_hit_select": 10,
    "logit_gap": 1.0,
    "gradient_norm_g": 2.0,
    "gradient_norm_d": 3.0,
}


def course(*last: dict[str, float], first: int = 8) -> list[dict[str, float]]:
    return [FINE] * first + [{**FINE, **record} for record in last]


def test_a_training_that_goes_well_raises_no_alarm() -> None:
    assert collapse_signs([]) == {}
    assert collapse_signs([{"loss_d": 1.0}]) == {}
    falling = [{**FINE, "fid_select": 700 / n, "logit_gap": 0.1 * n} for n in range(1, 60)]
    assert all(collapse_signs(falling[:n]) == {} for n in range(1, 60))


@pytest.mark.parametrize(
    ("kind", "record", "words"),
    [
        ("score", {"fid_select": 251.0}, "FID 251 after a best of 50"),
        ("classes", {"classes_hit_select": 5}, "images of 5 classes after 10"),
        ("gap", {"logit_gap": -30.0}, "the logit gap is 30, and was 1"),
        ("gradient_g", {"gradient_norm_g": 500.0}, "the gradient norm of G is 500, and was 2"),
        ("gradient_d", {"gradient_norm_d": 101.0}, "the gradient norm of D is 101, and was 3"),
    ],
)
def test_each_sign_is_seen_alone(kind: str, record: Any, words: str) -> None:
    assert collapse_signs(course(record)) == {kind: words}
    assert collapse_signs(course(record, {})) == {}  # and over when it is over


@pytest.mark.parametrize(
    "record",
    [
        {"fid_select": 249.0},
        {"classes_hit_select": 6},
        {"logit_gap": 19.0},
        {"gradient_norm_g": 99.0},
    ],
)
def test_ordinary_unrest_is_none(record: Any) -> None:
    assert collapse_signs(course(record)) == {}


def test_what_was_always_large_is_not_a_jump() -> None:
    loud = {"logit_gap": 500.0, "gradient_norm_d": 2000.0}
    assert collapse_signs([{**FINE, **loud}] * 10) == {}
    assert collapse_signs(course({"logit_gap": 300.0}, first=3)) == {}  # too little to go by


def test_a_discriminator_that_sees_nothing_is_told() -> None:
    blind = [{**FINE, "logit_gap": 1e-7 * n} for n in range(8)]
    assert set(collapse_signs(blind)) == {"blind"}
    assert collapse_signs(blind[:3]) == {}
    assert collapse_signs([*blind, {**FINE, "logit_gap": 0.5}]) == {}


def test_a_slow_decline_is_not_what_to_go_back_to() -> None:
    records = [{**FINE, "fid_select": fid} for fid in (50.0, 20, 25, 31, 45, 60, 75, 90, 101)]
    healthy = [is_healthy(records[: n + 1]) for n in range(len(records))]
    assert healthy == [True, True, True, False, False, False, False, False, False]
    assert set(collapse_signs(records)) == {"score"}
    assert not is_healthy([{**FINE, "logit_gap": 0.0}] * 8)


def test_patience_counts_scores_from_the_last_best_one_and_ends_once() -> None:
    def over(patience: int | None, *scores: float) -> int | None:
        between = {"loss_d": 1.0}
        records = [r for s in scores for r in (between, {"fid_select": s}, between)]
        return early_stopping_point(records, patience)

    assert {over(1), over(1, 5), over(1, 9, 5), over(1, 5, 5), over(None, 5, 6)} == {None}
    assert (over(1, 5, 6), over(1, 9, 5, 6)) == (5, 8)
    assert over(3, 5, 9, 8) is None
    assert over(3, 5, 9, 8, 7) == 11
    assert over(1, 5, 9, 4, 3) == 5  # what came afterwards changes nothing
