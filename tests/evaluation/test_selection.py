"""Which of several models is taken, by results that are made for it."""

import numpy as np
import pytest

from tf_transfer.evaluation import selection


def results(*parts):
    """Bool `[N]` from (how many examples, whether the model is right on them)."""
    return np.concatenate([np.full(n, right) for n, right in parts])


def test_the_error_is_of_the_difference_on_the_same_examples():
    rng = np.random.default_rng(0)
    a, b = rng.random(200) < 0.8, rng.random(200) < 0.7
    found = selection.lead(a, b)
    d = np.append(a.astype(float) - b, [1, -1])
    assert found.value == pytest.approx(a.mean() - b.mean()) and found.n == 200
    assert found.standard_error == pytest.approx(np.sqrt(np.mean((d - d.mean()) ** 2) / 202))
    # Exchanged, the sign alone changes.
    assert selection.lead(b, a) == (-found.value, found.standard_error, 200)


def test_models_that_agree_on_most_examples_are_told_apart():
    # Right on the same 80 of 100, and one of them on five more: the error of either accuracy is 4 points.
    simple, other = results((80, True), (20, False)), results((85, True), (15, False))
    assert selection.lead(other, simple).standard_error < 0.03
    assert selection.chosen({"head": simple, "full": other}) == "full"
    # The same accuracies of models that disagree on half of the examples decide nothing.
    mixed = np.concatenate([results((55, True), (25, False)), results((20, True))])
    assert mixed.mean() < simple.mean() and not selection.lead(simple, mixed).clear


def test_agreement_on_few_examples_is_no_certainty():
    same = results((18, True), (2, False))
    assert selection.lead(same, same).standard_error > 0.05 and not selection.lead(same, same).clear
    one_more = results((19, True), (1, False))
    assert not selection.lead(one_more, same).clear


@pytest.mark.parametrize(
    ("right", "taken"),
    [
        # Worse is not taken, however little it is worse.
        ({"head": 80, "full": 79}, "head"),
        ({"head": 80, "full": 80}, "head"),
        ({"head": 60, "full": 80}, "full"),
        # Within an error of the best one, the simplest that is.
        ({"head": 60, "full": 80, "adapt": 81}, "full"),
        ({"head": 80, "full": 60, "adapt": 81}, "head"),
        ({"head": 60, "full": 70, "adapt": 90}, "adapt"),
    ],
)
def test_the_simplest_within_one_standard_error_of_the_best(right, taken):
    assert selection.chosen({name: results((n, True), (100 - n, False)) for name, n in right.items()}) == taken


@pytest.mark.parametrize(
    ("head", "full", "taken"),
    [(18, 17, "full"), (17, 18, "full"), (12, 18, "full"), (18, 12, "head"), (20, 20, "full")],
)
def test_on_few_examples_the_last_one_stays_unless_it_is_clearly_worse(head, full, taken):
    few = {"head": results((head, True), (20 - head, False)), "full": results((full, True), (20 - full, False))}
    assert selection.chosen(few) == taken


def test_where_few_examples_begin():
    def of(n):
        return {"head": results((n - 4, True), (4, False)), "full": results((n - 4, True), (4, False))}

    assert selection.chosen(of(selection.FEW - 1)) == "full" and selection.chosen(of(selection.FEW)) == "head"
