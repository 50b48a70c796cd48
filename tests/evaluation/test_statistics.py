"""Intervals against their definitions, scipy and simulations of their coverage."""

import numpy as np
import pytest
from scipy import stats

from tf_transfer.evaluation import bootstrap_interval, mcnemar_exact, nll, wilson_interval
from tf_transfer.evaluation.statistics import mean_share_interval


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (7, 10), (10, 10), (8801, 10000), (0, 1)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_is_scipys(successes, n, level):
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    np.testing.assert_allclose(wilson_interval(successes, n, level), expected, atol=1e-12)


def test_wilson_ends_solve_the_score_equation():
    # The interval holds every p with |p_hat - p| <= z sqrt(p (1 - p) / n); at its ends the two are equal.
    for p in wilson_interval(37, 50):
        assert abs(37 / 50 - p) == pytest.approx(stats.norm.ppf(0.975) * np.sqrt(p * (1 - p) / 50))


def test_wilson_covers_at_its_level():
    n, p = 40, 0.9
    k = np.arange(n + 1)
    inside = [low <= p <= high for low, high in (wilson_interval(int(x), n) for x in k)]
    assert 0.93 < stats.binom.pmf(k, n, p) @ inside < 0.98  # exact coverage, summed over all outcomes


def test_wilson_of_nothing_is_everything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("successes", [-1, 11])
def test_wilson_refuses_impossible_counts(successes):
    with pytest.raises(ValueError, match=r"\[0, n=10\]"):
        wilson_interval(successes, 10)


def test_the_mean_of_one_share_has_wilsons_interval():
    assert mean_share_interval([7], [10]) == pytest.approx(wilson_interval(7, 10))
    low, high = mean_share_interval([90, 3], [90, 3])
    # Three examples that are all right say little: the mean is 1, and no narrower than half of their own interval.
    assert high == 1.0 and low < 1 - (1 - wilson_interval(3, 3)[0]) / 2 + 1e-12


def test_the_mean_of_shares_is_covered_at_its_level():
    sizes, shares = np.array([75, 8, 20]), np.array([0.95, 0.7, 0.85])
    drawn = np.random.default_rng(3).binomial(sizes, shares, (1500, 3))
    ends = np.array([mean_share_interval(row, sizes) for row in drawn])
    inside = (ends[:, 0] <= shares.mean()) & (shares.mean() <= ends[:, 1])
    assert 0.93 < inside.mean() < 0.985


def test_bootstrap_of_the_mean_covers_it():
    rng = np.random.default_rng(1)
    trials = 300
    hits = 0
    for seed in range(trials):
        low, high = bootstrap_interval(lambda x, weights: weights @ x / weights.sum(-1), rng.exponential(size=80),
                                       n_resamples=300, seed=seed, weighted=True)  # fmt: skip
        hits += low <= 1.0 <= high
    assert 0.89 < hits / trials < 0.98  # 0.95 less the known shortfall of the percentile interval at n = 80


def test_bootstrap_weights_and_resamples_are_the_same_interval():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
    plain = bootstrap_interval(nll, logits, labels, n_resamples=200, seed=7)
    assert bootstrap_interval(nll, logits, labels, n_resamples=200, seed=7, weighted=True) == pytest.approx(plain)
    assert bootstrap_interval(nll, logits, labels, n_resamples=200, seed=8) != pytest.approx(plain)


def test_bootstrap_keeps_rows_together():
    x = np.arange(30.0)
    assert bootstrap_interval(lambda a, b: np.max(np.abs(a - b)), x, x.copy()) == (0.0, 0.0)


def test_bootstrap_in_chunks_is_the_same():
    x = np.random.default_rng(3).normal(size=40)
    whole = bootstrap_interval(np.mean, x, n_resamples=100)
    assert bootstrap_interval(np.mean, x, n_resamples=100, entries=40 * 7) == whole


@pytest.mark.parametrize("arrays", [(np.zeros(3), np.zeros(4)), (np.zeros(0),)])
def test_bootstrap_refuses_unequal_or_no_rows(arrays):
    with pytest.raises(ValueError, match="same number of rows"):
        bootstrap_interval(lambda *a: 0.0, *arrays)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 5), (3, 9), (12, 12), (1, 0), (40, 80)])
def test_mcnemar_is_the_binomial_test(only_a, only_b):
    both, neither = 20, 10
    a = np.repeat([1, 0, 1, 0], [both, neither, only_a, only_b]).astype(bool)
    b = np.repeat([1, 0, 0, 1], [both, neither, only_a, only_b]).astype(bool)
    result = mcnemar_exact(a, b)
    assert (result["only_a"], result["only_b"]) == (only_a, only_b)
    assert result["p_value"] == pytest.approx(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def test_mcnemar_of_equal_models_is_one():
    same = np.array([True, False, True])
    assert mcnemar_exact(same, same) == {"p_value": 1.0, "only_a": 0, "only_b": 0}


def test_mcnemar_refuses_different_examples():
    with pytest.raises(ValueError, match="correct_a and correct_b"):
        mcnemar_exact(np.ones(3, bool), np.ones(4, bool))
