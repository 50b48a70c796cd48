"""The label-budget curve: a law that is put in comes out, with intervals that hold it."""

import numpy as np
import pytest

from tf_transfer.evaluation import curve


def answers(labels, scale, exponent, n=2000, seeds=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random((seeds, n)) >= scale * k**-exponent for k in labels]


def test_a_power_law_is_found_exactly_and_for_many_at_once():
    labels = np.array([5, 20, 100])
    errors = np.stack([0.8 * labels**-0.3, 0.5 * labels**-1.2])
    scale, exponent = curve.fit_power_law(labels, errors)
    np.testing.assert_allclose(scale, [0.8, 0.5])
    np.testing.assert_allclose(exponent, [0.3, 1.2])
    assert float(curve.labels_needed(0.8, 0.5, 0.1)) == pytest.approx(64)
    assert curve.labels_needed(0.8, -0.1, 0.1) == np.inf


def test_what_more_labels_bring_is_within_its_interval():
    labels, held = [1, 5, 20, 100], 0
    for seed in range(20):
        found = curve.label_budget(labels, answers(labels, 0.8, 0.4, seed=seed))
        now = 0.8 * 100**-0.4
        held += found["doubling"]["low"] <= now * (1 - 2**-0.4) <= found["doubling"]["high"]
        assert found["fitted"] == [5.0, 20.0, 100.0] and found["exponent"]["low"] < found["exponent"]["high"]
    assert held >= 16
    assert found["halving"]["value"] == pytest.approx(100 * 2 ** (1 / 0.4), rel=0.3)


def test_a_curve_that_is_flat_promises_nothing():
    labels = [5, 20, 100]
    found = curve.label_budget(labels, answers(labels, 0.3, 0.0))
    assert found["doubling"]["low"] < 0.01 and found["halving"]["high"] is None
    assert curve.label_budget([5, 20], answers([5, 20], 0.3, 0.5)) is None


def test_without_errors_the_logarithm_is_of_half_an_example():
    found = curve.label_budget([1, 5, 20], [np.ones((1, 50), bool)] * 3)
    assert found["doubling"]["value"] == pytest.approx(0.0, abs=1e-9)


def test_labels_that_reach_an_accuracy_are_read_off_the_curve():
    x, y = [1, 10, 100], [0.5, 0.7, 0.9]
    assert curve.labels_to_reach(x, y, 0.8) == pytest.approx(10 * 10**0.5)
    assert curve.labels_to_reach(x, y, 0.4) == 1.0 and curve.labels_to_reach(x, y, 0.95) is None
    assert curve.labels_to_reach(x, y, 0.9) == pytest.approx(100)
