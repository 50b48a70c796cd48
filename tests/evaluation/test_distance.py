"""Distances of domains against closed forms, other formulas and what chance gives."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import kstest

from tf_transfer.evaluation import distance

RANDOM = np.random.default_rng(0)


def normal(n, d=5, shift=0.0, seed=None):
    return (np.random.default_rng(seed) if seed is not None else RANDOM).normal(size=(n, d)) + shift


def test_one_domain_cannot_be_told_from_itself_and_far_ones_always():
    found = [distance.proxy_a_distance(normal(100, seed=s), normal(150, seed=100 + s), seed=s) for s in range(10)]
    assert abs(np.mean([f["value"] for f in found])) < 0.15
    assert sum(f["low"] <= 0 <= f["high"] for f in found) >= 8
    assert found[0]["n"] == 200
    far = distance.proxy_a_distance(normal(60), normal(40, shift=20.0))
    assert far["value"] == far["high"] == 2.0 and 1.5 < far["low"] < 2.0


def test_the_classifier_of_the_domains_is_not_judged_on_what_it_learnt():
    """With more features than examples any two sets can be separated; held out, noise cannot."""
    found = distance.proxy_a_distance(normal(40, 500), normal(40, 500))
    assert abs(found["value"]) < 0.8


def brute_mmd(x, y):
    pairs = np.concatenate([x, y])
    d2 = ((pairs[:, None] - pairs[None]) ** 2).sum(-1)
    median = np.median(d2[np.triu_indices(len(pairs), 1)])

    def k(a, b):
        d2 = ((a - b) ** 2).sum()
        return np.mean([np.exp(-d2 / (2 * s**2 * median)) for s in (0.25, 0.5, 1, 2, 4)])

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    return xx + yy - 2 * np.mean([k(a, b) for a in x for b in y])


def test_mmd_is_the_sum_over_pairs():
    x, y = normal(7, 3), normal(9, 3, 0.5)
    assert distance.mmd(x, y, 10)["value"] == pytest.approx(brute_mmd(x, y))


def test_under_one_domain_mmd_is_zero_in_the_mean_and_its_p_value_uniform():
    found = [distance.mmd(normal(15, 3, seed=s), normal(20, 3, seed=1000 + s), 99, s) for s in range(200)]
    values = np.array([f["value"] for f in found])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    # Ties of the discrete p-value are spread out.
    p = [f["p_value"] - RANDOM.uniform(0, 0.01) for f in found]
    assert kstest(p, "uniform").pvalue > 0.01
    assert distance.mmd(normal(50), normal(50, shift=1.0))["p_value"] < 0.01


def test_coral_by_hand():
    # Covariances 1 and 4 of the first feature, 0 elsewhere: (4 - 1)^2 / (4 * 2^2).
    x = np.array([[-1.0, 3.0], [0.0, 3.0], [1.0, 3.0]])
    assert distance.coral_distance(x, x * [2, 1]) == pytest.approx(9 / 16)
    assert distance.coral_distance(x, x + 5.0) == pytest.approx(0.0)


@pytest.mark.parametrize(("n", "m"), [(200, 150), (6, 5), (20, 200)])
def test_frechet_is_the_formula_with_the_matrix_root(n, m):
    x, y = normal(n, 12), 2 * normal(m, 12, 0.3)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b + 1e-12 * np.eye(12)).real)
    assert distance.frechet_distance(x, y) == pytest.approx(expected, rel=1e-4)


def test_the_frechet_distance_of_one_domain_falls_with_n_as_its_floor_says():
    x = normal(2000, 20)
    small, large = distance.frechet_floor(x, 100), distance.frechet_floor(x, 1000)
    assert small[0] > 3 * large[0] > 0 and small[1] >= small[0]
    assert distance.frechet_distance(x[:100], normal(100, 20)) == pytest.approx(small[0], rel=0.5)
    assert distance.frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "function", [distance.proxy_a_distance, distance.mmd, distance.coral_distance, distance.frechet_distance]
)
def test_other_shapes_are_refused(function):
    for x, y in [(normal(30, 3), normal(30, 4)), (normal(1, 3), normal(30, 3)), (np.zeros(30), np.zeros(30))]:
        with pytest.raises(ValueError, match="source and target must be"):
            function(x, y)
