"""Calibration on constructed predictions."""

import numpy as np
import pytest

from tf_transfer.evaluation import calibration, metrics, statistics

RANDOM = np.random.default_rng(0)


def calibrated(n=20_000, classes=4, sharpness=2.0, seed=0):
    """Logits whose softmax is the law that the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(n, classes))
    labels = (rng.random((n, 1)) > np.cumsum(metrics.softmax(logits), 1)).sum(1)
    return logits, np.minimum(labels, classes - 1)


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_that_spoilt_the_logits_is_found(true):
    logits, labels = calibrated()
    assert calibration.temperature(logits * true, labels) == pytest.approx(true, rel=0.05)


def test_the_temperature_minimises_the_likelihood_lost():
    logits, labels = calibrated(500)
    best = calibration.temperature(3 * logits, labels)
    losses = [metrics.nll(3 * logits / t, labels) for t in (0.97 * best, best, 1.03 * best)]
    assert losses[1] < min(losses[0], losses[2])


@pytest.mark.parametrize(("n", "classes", "spoilt"), [(30, 10, 1.0), (346, 5, 0.4), (700, 30, 3.0)])
def test_the_interval_of_a_temperature_is_that_of_fitting_every_resample(n, classes, spoilt):
    logits, labels = calibrated(n, classes)
    logits = spoilt * logits
    value, told = calibration.temperature(logits, labels), []
    found = calibration.temperature_interval(logits, labels, value, lambda *done: told.append(done[:2]))
    slow = statistics.bootstrap_interval(calibration.temperature, logits, labels, n_resamples=200)
    np.testing.assert_allclose(found, slow, rtol=0.01)
    # What it shows of its progress ends at the end.
    assert told[-1][0] == told[-1][1] == len(told)


def test_a_temperature_that_ends_at_a_limit_is_told():
    logits, labels = calibrated(200)
    hardly, wrong = 0.001 * logits, 1000 * logits
    for spoilt, limit in ((hardly, 0.05), (wrong, 20.0)):
        value = calibration.temperature(spoilt, labels)
        low, high = calibration.temperature_interval(spoilt, labels, value)
        assert calibration.limit_of(value) == limit
        assert low == pytest.approx(limit, rel=1e-3) and high == pytest.approx(limit, rel=1e-3)
    assert calibration.limit_of(calibration.temperature(logits, labels)) is None


def test_a_class_that_is_ruled_out_leaves_the_temperature_alone():
    logits, labels = calibrated(300)
    more = np.concatenate([logits, np.full((300, 1), -np.inf)], 1)
    value = calibration.temperature(logits, labels)
    assert calibration.temperature(more, labels) == value
    found = calibration.temperature_interval(more, labels, value)
    assert found == pytest.approx(calibration.temperature_interval(logits, labels, value))


def test_adaptive_ece_by_hand():
    # Six predictions in two bins of three: confidences 0.6, 0.7, 0.8 with 1 right and 0.9, 0.9, 0.9 with 2.
    p = np.array([0.6, 0.7, 0.8, 0.9, 0.9, 0.9])
    logits = np.stack([np.log(p), np.log(1 - p)], 1)
    labels = np.array([0, 1, 1, 0, 0, 1])
    expected = (abs(1 - 2.1) + abs(2 - 2.7)) / 6
    assert calibration.adaptive_ece(logits, labels, n_bins=2) == pytest.approx(expected)
    # Counting every example twice changes nothing.
    assert calibration.adaptive_ece(logits, labels, np.full(6, 2.0), 2) == pytest.approx(expected)


def test_adaptive_ece_of_calibrated_and_of_sure_predictions():
    logits, labels = calibrated()
    assert calibration.adaptive_ece(logits, labels) < 0.015
    spoilt = calibration.adaptive_ece(5 * logits, labels)
    assert spoilt == pytest.approx(float(metrics.ece(5 * logits, labels)), abs=0.02) and spoilt > 0.1


def test_atc_knows_the_accuracy_on_its_own_validation_and_follows_a_shift():
    logits, labels = calibrated(5000)
    accuracy = (logits.argmax(1) == labels).mean()
    assert calibration.atc(logits, labels, logits) == pytest.approx(accuracy)
    # Another mixture of the same easy and hard pictures: two thirds of the sure ones are left out.
    other, truth = calibrated(20_000, seed=1)
    sure = metrics.softmax(other).max(1) > 0.8
    kept = ~sure | (np.random.default_rng(0).random(len(sure)) < 1 / 3)
    estimate, accuracy = calibration.atc(logits, labels, other[kept]), (other[kept].argmax(1) == truth[kept]).mean()
    assert estimate < (logits.argmax(1) == labels).mean() - 0.05
    assert estimate == pytest.approx(accuracy, abs=0.08)
    assert calibration.atc(logits, (logits.argmax(1) + 1) % 4, logits) == 0.0
    assert calibration.atc(logits, logits.argmax(1), logits) == 1.0


@pytest.mark.parametrize("metric", [metrics.ece, calibration.adaptive_ece])
def test_perfect_calibration_is_within_its_interval(metric):
    held = 0
    for seed in range(15):
        logits, labels = calibrated(400, seed=seed)
        found = calibration.calibration_interval(metric, logits, labels, draws=100)
        assert found["low"] <= found["value"] <= found["high"] and found["floor"] > 0.01
        held += found["low"] == 0
    assert held >= 12
    spoilt = calibration.calibration_interval(metric, 4 * logits, labels, draws=100)
    assert spoilt["low"] > 0.05


def test_the_interval_of_atc_holds_what_other_draws_estimate():
    (logits, labels), (other, _) = calibrated(300), calibrated(200, seed=1)
    low, high = calibration.atc_interval(logits, labels, other)
    assert low < calibration.atc(logits, labels, other) < high and 0.05 < high - low < 0.3
    drawn = [calibration.atc(*calibrated(300, seed=s), calibrated(200, seed=s + 50)[0]) for s in range(2, 42)]
    assert np.mean([low - 0.05 <= d <= high + 0.05 for d in drawn]) > 0.85
    many = calibration.atc_interval(*calibrated(5000), calibrated(5000, seed=1)[0])
    assert many[1] - many[0] < 0.06
