"""Intervals and tests of models compared: coverage by simulation, other implementations, and by hand."""

import numpy as np
import pytest
from scipy import stats

from tf_transfer.evaluation import comparison


def test_one_training_has_wilsons_interval_and_several_one_over_seeds_too():
    rng = np.random.default_rng(0)
    one = rng.random(200) < 0.8
    found = comparison.accuracy_interval(one)
    low, high = stats.binomtest(int(one.sum()), 200).proportion_ci(method="wilson")
    assert (found["low"], found["high"]) == pytest.approx((low, high)) and found["seeds"] == 1
    # Three trainings that differ by ten points: their interval is wider than that of as many pictures.
    three = np.stack([rng.random(2000) < p for p in (0.7, 0.8, 0.9)])
    found = comparison.accuracy_interval(three)
    assert found["value"] == pytest.approx(three.mean()) and found["seeds"] == 3
    assert found["high"] - found["low"] > 0.1 > comparison.accuracy_interval(three[1])["high"] - 0.75


@pytest.mark.parametrize(("n", "agree"), [(40, 0.9), (300, 0.8)])
def test_a_paired_interval_holds_the_difference_as_often_as_it_says(n, agree):
    """Two models of 80 % and 75 %, mostly right on the same pictures."""
    rng, held = np.random.default_rng(1), 0
    runs, true = 150, 0.05
    for i in range(runs):
        both = rng.random(n)
        a = np.where(rng.random(n) < agree, both < 0.8, rng.random(n) < 0.8)
        b = np.where(rng.random(n) < agree, both < 0.75, rng.random(n) < 0.75)
        found = comparison.accuracy_difference(a, b, seed=i)
        held += found["low"] <= true <= found["high"]
    # 95 % within what 150 runs leave open, or more: the added pictures make it wider on few.
    assert held / runs > 0.905


@pytest.mark.parametrize(("seeds", "others"), [(1, 1), (3, 3), (1, 5), (3, 2)])
@pytest.mark.parametrize("n", [7, 200])
def test_exchanging_the_two_changes_the_sign_alone(seeds, others, n):
    rng = np.random.default_rng(n)
    for i in range(5):
        a, b = rng.random((seeds, n)) < 0.8, rng.random((others, n)) < 0.6
        one, other = comparison.accuracy_difference(a, b, seed=i), comparison.accuracy_difference(b, a, seed=i)
        assert (one["value"], one["low"], one["high"]) == (-other["value"], -other["high"], -other["low"])
    same = comparison.accuracy_difference(a[0], a[0])
    assert same["low"] == -same["high"]


@pytest.mark.parametrize("seeds", [(3, 3), (4, 2)])
def test_an_interval_over_seeds_holds_the_difference_as_often_as_it_says(seeds):
    """Trainings that differ from seed to seed, of two kinds that truly differ by five points."""
    rng, held, runs, true = np.random.default_rng(5), 0, 60, 0.05
    for i in range(runs):
        easy = rng.random(150)
        a, b = (
            np.stack([easy < rng.normal(mean, 0.01) for _ in range(s)])
            for mean, s in zip((0.8, 0.75), seeds, strict=True)
        )
        found = comparison.accuracy_difference(a, b, seed=i)
        held += found["low"] <= true <= found["high"]
    assert held / runs > 0.88


def test_models_that_agree_on_all_of_few_pictures_are_not_known_to_be_equal():
    right = np.ones(20, bool)
    found = comparison.accuracy_difference(right, right)
    assert found["value"] == 0 and found["low"] < -0.05 and found["high"] > 0.05
    many = comparison.accuracy_difference(np.ones(5000, bool), np.ones(5000, bool))
    assert many["high"] < 0.001


def test_seeds_are_paired_and_examples_must_be_the_same():
    a = np.array([[True] * 50 + [False] * 50, [True] * 60 + [False] * 40])
    assert comparison.accuracy_difference(a, a[:, ::-1])["value"] == 0
    assert comparison.accuracy_difference(a, a[:1])["value"] == pytest.approx(0.05)
    with pytest.raises(ValueError, match="same examples"):
        comparison.accuracy_difference(a, a[:, :50])
    with pytest.raises(ValueError, match="expected"):
        comparison.accuracy_interval(np.zeros((2, 0)))


def test_seeds_that_are_not_paired_count_on_their_side():
    """Five trainings that differ by ten points each, against one in their middle."""
    rng = np.random.default_rng(4)
    five = np.stack([rng.random(2000) < p for p in (0.3, 0.4, 0.5, 0.6, 0.7)])
    one = rng.random((1, 2000)) < 0.5
    found = comparison.accuracy_difference(five, one)
    assert found["seeds"] == 1 and found["high"] - found["low"] > 0.15


def test_several_perfect_trainings_are_not_more_certain_than_one():
    one, three = (comparison.accuracy_interval(np.ones((s, 20), bool)) for s in (1, 3))
    assert three["low"] == pytest.approx(one["low"]) and three["high"] == 1


def test_holm_is_that_of_scipy():
    rng = np.random.default_rng(2)
    for _ in range(20):
        p = rng.random(6) ** 2
        # SciPy has Benjamini and Hochberg's; Holm's is its definition, written out.
        order = np.argsort(p)
        expected = np.empty(6)
        for rank, i in enumerate(order):
            expected[i] = min(1.0, max((6 - r) * p[order[r]] for r in range(rank + 1)))
        assert comparison.holm(p) == pytest.approx(expected)
    assert comparison.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_pairs_name_both_and_carry_both_p_values():
    rng = np.random.default_rng(3)
    right = {"good": rng.random(400) < 0.9, "bad": rng.random(400) < 0.5, "same": rng.random(400) < 0.9}
    found = {(r["a"], r["b"]): r for r in comparison.pairwise(right)}
    assert list(found) == [("good", "bad"), ("good", "same"), ("bad", "same")]
    assert found["good", "bad"]["p_holm"] < 1e-6 < found["good", "same"]["p_value"]
    assert found["good", "bad"]["difference"]["low"] > 0.3
    only_good, only_bad = (int((right[a] & ~right[b]).sum()) for a, b in (("good", "bad"), ("bad", "good")))
    exact = stats.binomtest(only_good, only_good + only_bad).pvalue
    assert found["good", "bad"]["p_value"] == pytest.approx(exact, rel=1e-6)


def test_the_worst_class():
    labels = np.array([0, 0, 0, 0, 2, 2, 2, 2])
    found = comparison.worst_class(np.array([1, 1, 1, 0, 1, 0, 0, 1], bool), labels)
    assert (found["class"], found["value"], found["n"]) == (2, 0.5, 4) and found["low"] < 0.5 < found["high"]


def test_copies_are_left_out_and_counted():
    correct, copies = np.array([1, 1, 1, 0, 1, 0], bool), np.array([1, 1, 0, 0, 0, 0], bool)
    found = comparison.without_copies(correct, copies)
    assert found == {"copies": 2} | comparison.accuracy_interval(np.array([1, 0, 1, 0], bool))
    assert comparison.without_copies(correct, np.ones(6, bool)) == {"copies": 6}
