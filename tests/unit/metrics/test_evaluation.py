"""Records of scores, and comparisons."""

import json

import numpy as np
import pytest

from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import BETTER, Reference, compare, evaluation
from bngan.metrics.features import Features
from bngan.metrics.protocol import Protocol
from bngan.metrics.scores import interval_scores
from pipeline.reports.tables import LABELS, score_rows
from tests.unit.metrics.test_jackknife import COUNT, normal


def features(samples: np.ndarray) -> Features:
    return Features(samples, samples[:, :3])


@pytest.fixture
def reference() -> Reference:
    extractor = untrained_extractor((1, 8, 8), 3)
    protocol = Protocol.parse(f"fid{COUNT}_test")
    return Reference(protocol, extractor, features(normal(0)), {"count": 100.0, "fid": 0.2})


def test_a_record_says_all_about_its_scores(reference, tmp_path) -> None:
    fakes = {0: features(normal(1)), 1: features(normal(2))}
    record = evaluation(reference, fakes, train=normal(3))
    assert record["protocol"] == {
        "name": "fid400_test",
        "count": 400,
        "split": "test",
        "seeds": [0, 1],
    }
    assert record["scores"]["fid"] == record["seeds"]["0"] != record["seeds"]["1"]
    for name in (*BETTER, "authenticity"):
        low, high = record["intervals"][name]
        assert low <= record["scores"][name] <= high
    assert abs(record["scores"]["data_copying"]) < 3
    assert record["scores"]["authenticity"] == pytest.approx(
        record["floor"]["authenticity"], abs=0.1
    )
    reference.save(tmp_path)
    again = evaluation(Reference.load(tmp_path), fakes, train=normal(3))
    assert {**again, "extractor": None} == {**record, "extractor": None}


def test_what_too_few_images_cannot_tell_is_left_out_of_the_record(reference) -> None:
    few = reference.smaller(Protocol.parse("fid60_test"))
    record = evaluation(few, {0: features(normal(1, 60))}, train=normal(3))
    json.dumps(record, allow_nan=False)
    assert "data_copying" not in record["scores"]
    labels = [label for label, *_ in score_rows(record)]
    assert LABELS["authenticity"] in labels
    assert LABELS["data_copying"] not in labels


def test_a_smaller_protocol_takes_the_first_of_the_real_images(reference) -> None:
    smaller = reference.smaller(Protocol.parse("fid50_test"))
    np.testing.assert_array_equal(smaller.real.features, reference.real.features[:50])
    assert reference.smaller(reference.protocol) is reference
    for name in ("fid401_test", "fid50_select"):
        with pytest.raises(ValueError, match=f"{name} cannot be measured here"):
            reference.smaller(Protocol.parse(name))


def test_a_floor_takes_twice_the_fewest_images() -> None:
    few = Reference(
        Protocol.parse("fid39_test"), untrained_extractor((1, 8, 8)), features(normal(0, 39)), {}
    )
    with pytest.raises(ValueError, match="fid20_test cannot be measured here: its floor takes 40"):
        few.smaller(Protocol.parse("fid20_test"))


def test_a_comparison_finds_the_better_one_and_says_when_there_is_none(reference) -> None:
    good = normal(5)
    worse = good * 1.5  # the same latents, so to say
    verdicts = {
        n: c.verdict for n, c in compare(reference, features(good), features(worse)).items()
    }
    assert verdicts["fid"] == "first"
    turned = compare(reference, features(worse), features(good))
    assert turned["fid"].verdict == "second"
    same = compare(reference, features(good), features(good))
    assert {c.verdict for c in same.values()} == {"neither"}


@pytest.mark.slow
def test_chance_alone_is_rarely_taken_for_a_difference(reference) -> None:
    found = [
        compare(reference, features(normal(100 + i)), features(normal(200 + i))) for i in range(60)
    ]
    for name in ("fid", "kid", "mind", "precision", "recall", "density", "coverage"):
        wrong = np.mean([comparison[name].verdict != "neither" for comparison in found])
        assert wrong <= 0.15, name


def test_estimates_are_what_the_protocol_compares() -> None:
    assert set(interval_scores(features(normal(0)), features(normal(1)), "0")) == set(BETTER)
