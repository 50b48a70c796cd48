"""Arrays with NaN or infinity are refused with their name: a number computed from them would mean nothing."""

import numpy as np
import pytest

from tf_transfer import evaluation as ev

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(40, 6)), np.arange(40) % 3
OTHER = RANDOM.normal(size=(40, 6))


def spoilt(x, bad=np.nan):
    x = x.copy()
    x[3, 2] = x[7, 1] = bad
    return x


FORECASTS = [ev.logme, ev.h_score, ev.gbc, ev.transrate, ev.knn_correct, ev.leep, ev.nce]
DISTANCES = [ev.mmd, ev.coral_distance, ev.frechet_distance, ev.proxy_a_distance, ev.cka]
OF_LOGITS = [ev.METRIC.factory(name) for name in ev.METRIC.names()] + [ev.temperature, ev.adaptive_ece]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("forecast", FORECASTS)
def test_a_forecast_refuses_features_that_are_not_finite(forecast, bad):
    with pytest.raises(ValueError, match="features: expected finite numbers, got 2 of 240 that are NaN or infinite"):
        forecast(spoilt(X, bad), Y)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_distance_refuses_either_side(distance):
    for sides in ((spoilt(X), OTHER), (X, spoilt(OTHER))):
        with pytest.raises(ValueError, match=r"(source|target|first|second): expected finite numbers, got 2 of 240"):
            distance(*sides)


@pytest.mark.parametrize("metric", OF_LOGITS)
def test_a_metric_refuses_nan_and_takes_a_class_that_is_ruled_out(metric):
    with pytest.raises(ValueError, match="logits: expected finite numbers, got 2 of 240 that are NaN"):
        metric(spoilt(X), Y)
    ruled_out = X.copy()
    ruled_out[:, 5] = -np.inf
    assert np.isfinite(ev.accuracy(ruled_out, Y))


def test_weights_and_unlabelled_logits_too():
    with pytest.raises(ValueError, match=r"after\['kernel'\]: expected finite numbers, got 2 of 240"):
        ev.weight_distance({"kernel": X}, {"kernel": spoilt(X)})
    with pytest.raises(ValueError, match="logits: expected finite numbers"):
        ev.atc(X, Y, spoilt(OTHER))
