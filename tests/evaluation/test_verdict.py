"""Every rule fires where it should, in its order, and not where intervals do not separate."""

import pytest

from tf_transfer.evaluation import verdict


def estimate(low, high, n=1000):
    return {"value": (low + high) / 2, "low": low, "high": high, "n": n}


GOOD = {"best - scratch": estimate(0.05, 0.1), "best - blind": estimate(0.5, 0.6)}
STEEP = {"doubling": estimate(0.05, 0.07), "halving": {"value": 80.0, "low": 60.0, "high": None}, "seeds": 2}
FLAT = {"doubling": estimate(0.0, 0.02), "halving": {"value": None, "low": 900.0, "high": None}, "seeds": 2}


@pytest.mark.parametrize(
    ("gain", "preferred", "budget", "other", "advice"),
    [
        (estimate(0.02, 0.06), "full", FLAT, {}, verdict.FINE_TUNE_FULLY),
        (estimate(0.02, 0.06), None, None, {}, verdict.FINE_TUNE_FULLY),
        (estimate(0.02, 0.06), "head", FLAT, {}, verdict.UNDECIDED),
        (estimate(-0.02, 0.009), "full", FLAT, {}, verdict.TRAIN_HEAD_ONLY),
        (estimate(-0.05, -0.02), "head", None, {}, verdict.TRAIN_HEAD_ONLY),
        (estimate(-0.02, 0.04), "full", FLAT, {}, verdict.UNDECIDED),
        (estimate(-0.02, 0.04), "full", STEEP, {}, verdict.LABELS),
        # One training a budget tells nothing of other labels.
        (estimate(-0.02, 0.04), "full", STEEP | {"seeds": 1}, {}, verdict.UNDECIDED),
        # What full brings may be more than twice the labels would.
        (estimate(0.02, 0.06), "full", STEEP, {}, verdict.FINE_TUNE_FULLY),
        (estimate(0.08, 0.12), "full", STEEP, {}, verdict.FINE_TUNE_FULLY),
        (estimate(0.02, 0.06), "full", STEEP, {"best - scratch": estimate(-0.09, -0.01)}, verdict.NOTHING),
        (estimate(0.02, 0.06), "full", None, {"best - scratch": estimate(-0.09, 0.01)}, verdict.FINE_TUNE_FULLY),
        (estimate(0.02, 0.06), "full", FLAT, {"best - blind": estimate(-0.01, 0.2)}, verdict.UNDECIDED),
        (estimate(0.02, 0.06), "full", FLAT, {"best - blind": estimate(-0.2, 0.005)}, verdict.NOTHING),
    ],
)
def test_the_rules(gain, preferred, budget, other, advice):
    found = verdict.decide({"full - head": gain, **GOOD, **other}, preferred, budget)
    assert found.advice == advice and found.rule and found.numbers
    assert (found.labels is not None) == (advice == verdict.LABELS)


def test_without_controls_the_gain_alone_decides():
    assert verdict.decide({"full - head": estimate(0.1, 0.2)}, "full").advice == verdict.FINE_TUNE_FULLY


def test_how_many_examples_would_decide():
    # An interval four times too wide takes sixteen times the pictures.
    assert verdict.examples_to_decide({"value": 0.01, "low": -0.03, "high": 0.05, "n": 100}) == 1600
    assert verdict.examples_to_decide({"value": 0.01, "low": -0.03, "high": 0.05, "n": 100, "seeds": 2}) is None
    assert verdict.examples_to_decide({"value": 0.0, "low": -0.03, "high": 0.03, "n": 100}) is None


def test_without_anything_pretrained_there_is_nothing_to_transfer():
    better = {"full - head": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 100}}
    found = verdict.decide(better, "full", pretrained=False)
    assert (found.advice, found.numbers) == (verdict.NOTHING, {}) and "nothing was pretrained" in found.rule
