"""Rankings: agreement with outcomes, and how sure they are."""

import numpy as np
import pytest

from tf_transfer.evaluation import ranking


def test_tau_of_equal_and_of_reversed_orders():
    assert ranking.weighted_tau([1, 2, 3], [0.1, 0.5, 0.9]) == pytest.approx(1)
    assert ranking.weighted_tau([3, 2, 1], [0.1, 0.5, 0.9]) == pytest.approx(-1)
    # Exchanging the two best costs more than exchanging the two worst.
    best, worst = (ranking.weighted_tau(order, [1, 2, 3, 4]) for order in ([1, 2, 4, 3], [2, 1, 3, 4]))
    assert best < worst < 1
    assert ranking.weighted_tau([1], [1]) is None and ranking.weighted_tau([1, 1], [1, 1]) is None


def test_the_spread_over_halves_is_the_standard_error():
    rng = np.random.default_rng(0)
    widths = []
    for seed in range(20):
        x = rng.normal(size=400)
        found = ranking.score_interval(lambda rows, x=x: x[rows].mean(), 400, 60, seed)
        assert found["value"] == pytest.approx(x.mean()) and found["low"] < found["value"] < found["high"]
        widths.append(found["high"] - found["low"])
    held = 0
    for seed in range(200):
        x = np.random.default_rng(seed).normal(size=200)
        found = ranking.score_interval(lambda rows, x=x: x[rows].mean(), 200, 20, seed)
        held += found["low"] <= 0 <= found["high"]
    assert 0.91 <= held / 200 <= 0.99
    assert np.mean(widths) == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert all(len(set(rows)) == 200 for rows in ranking.half_samples(400, 3))


def test_ranks_of_networks_that_are_apart_and_of_those_that_are_not():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=50)
    found = ranking.rank_intervals({"a": shared + 5, "b": shared, "c": shared + rng.normal(size=50) * 0.1})
    assert found["a"] == {"median": 1.0, "low": 1.0, "high": 1.0, "first": 1.0}
    assert found["b"]["low"] == 2 and found["b"]["high"] == 3 and found["b"]["first"] == 0


def test_the_interval_of_tau_is_that_of_the_ranking_and_of_the_outcomes():
    rng = np.random.default_rng(0)
    clear = [rng.random(4000) < p for p in (0.2, 0.5, 0.8)]
    halves = [[v + d for d in (-0.01, 0.0, 0.01)] for v in (1.0, 2.0, 3.0)]
    # What is far apart on both sides keeps its order in every draw.
    assert ranking.tau_interval(halves, clear) == pytest.approx((1.0, 1.0))
    # Outcomes of few pictures do not, nor a forecast that half of its pictures exchange.
    few = [rng.random(20) < p for p in (0.45, 0.5, 0.55)]
    assert np.ptp(ranking.tau_interval(halves, few)) > 0.5
    torn = [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]
    assert ranking.tau_interval(torn, clear) == pytest.approx((-1.0, 1.0))
    # One score a network is that of every draw; networks that are alike have no order.
    assert ranking.tau_interval([[1.0], [2.0], [3.0]], clear) == pytest.approx((1.0, 1.0))
    assert ranking.tau_interval([[1.0], [1.0], [1.0]], clear) is None
