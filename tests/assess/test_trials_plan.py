"""What is trained in the time there is."""

import pytest

from tf_transfer.assess import plan
from tf_transfer.assess.plan import Trial


def cost(trial, scale):
    """Ten seconds a label budget's thousand, and two to start."""
    return 2 + scale * 10 * (1000 if trial.labels is None else trial.labels) / 1000


def test_budgets_are_below_the_labels_there_are():
    assert plan.budgets([5000, 4000]) == [5, 20, 100, 500, None]
    assert plan.budgets([100, 80]) == [1, 5, 20, None]
    assert plan.budgets([1, 7]) == [None] and plan.budgets([8, 8]) == [1, 5, None]


def test_the_most_telling_comes_first():
    found = plan.wanted([5, 20, None], 7, ["vgg16"])
    assert found[:3] == [Trial(kind, None, 7) for kind in ("full", "scratch", "random head")]
    assert found[3] == Trial("full", None, 7, "vgg16")
    assert found[4:6] == [Trial("full", 20, 7), Trial("scratch", 20, 7)]
    assert {t.seed for t in found} == {7, 8, 9} and len(set(found)) == len(found)


def test_with_time_to_spare_all_is_made_in_full_and_with_little_shorter():
    wanted = plan.wanted([5, 20, None], 0, [])
    everything = sum(cost(t, 1.0) for t in wanted)
    found = plan.choose(wanted, everything, cost, fixed=False)
    assert found.trials == tuple(wanted) and found.scale == 1 and not found.dropped
    first = [t for t in wanted if t.seed == 0]
    found = plan.choose(wanted, sum(cost(t, 0.5) for t in first), cost, fixed=False)
    assert set(first) <= set(found.trials) and found.scale == 0.5
    assert all(t.seed for t, _ in found.dropped)


@pytest.mark.parametrize("fixed", [False, True])
def test_too_little_time_keeps_what_fits(fixed):
    wanted = plan.wanted([5, 20, None], 0, [])
    found = plan.choose(wanted, 13.0, cost, fixed)
    assert found.scale == (1 if fixed else 0.25)
    spent = sum(cost(t, found.scale) for t in found.trials)
    assert spent <= 13 and found.trials[0] == wanted[0]
    assert set(found.trials) | {t for t, _ in found.dropped} == set(wanted)


def test_a_trial_says_what_it_is():
    assert str(Trial("full", None, 0)) == "full, all labels, seed 0"
    assert str(Trial("scratch", 5, 2, "vgg16")) == "scratch, 5 a class, seed 2, vgg16"


def test_networks_are_trained_on_as_many_labels_as_there_is_time_for():
    points = [5, 20, None]
    assert plan.fit(points, 0, [], 1000.0, cost)[0] == points
    # A quarter of the epochs on all labels takes 4.5 seconds, on 20 a class 2.05, and each needs its control.
    left, chosen, missed = plan.fit(points, 0, [], 8.0, cost)
    assert left == [5, 20] and chosen.trials[:2] == (Trial("full", 20), Trial("scratch", 20))
    assert [t for t, _ in missed] == [Trial("scratch")]
    # Where there is no time for the control anywhere, full alone, on as many labels as it fits on.
    left, chosen, _ = plan.fit(points, 0, [], 3.0, cost)
    assert left == [5, 20] and chosen.trials == (Trial("full", 20),)
    # Heads are left on all labels where nothing fits.
    left, chosen, missed = plan.fit(points, 0, [], 1.0, cost)
    assert (
        left == points and not chosen.trials and missed == [] and len(chosen.dropped) == len(plan.wanted(points, 0, []))
    )


def test_what_is_there_already_needs_no_time_for_its_control():
    left, chosen, _ = plan.fit([5, None], 0, [], 1.0, lambda t, s: 0.0 if t == Trial("full") else 9.0)
    assert left == [5, None] and chosen.trials == (Trial("full"),)


def test_what_follows_keeps_what_it_can_use_and_no_more_than_a_share():
    assert plan.reserved(1500, 100, 20, networks=3, sets=1) == 100 + 20 + 4 * 25
    assert plan.reserved(300, 100, 20, networks=3, sets=1) == 0.4 * 300
