"""The rules that the page of the choices compares: the one that is said to be in use is the one in use."""

import numpy as np
import pytest

from benchmarks import selection as measured
from tf_transfer.evaluation import selection


def run_of(each, test):
    """What `benchmarks.selection` records of a run."""
    accuracy = {name: float(right.mean()) for name, right in each.items()}
    error = {"accuracy": selection.lead(each["full"], each["head"]).standard_error}
    return {"n": len(each["head"]), "accuracy": accuracy, "error": error, "test": test}


def test_the_rule_in_use_is_the_one_that_chooses():
    rng, taken = np.random.default_rng(0), []
    for n in (5, 20, selection.FEW - 1, selection.FEW, 200):
        for _ in range(60):
            same, better = rng.random(n) < 0.6, rng.uniform(-0.5, 0.5)
            each = {"head": same, "full": np.where(rng.random(n) < abs(better), better > 0, same)}
            taken.append(selection.chosen(each))
            assert measured.IN_USE(run_of(each, {})) == taken[-1]
    assert 50 < taken.count("head") < 250


def test_regret_is_what_a_choice_loses():
    runs = [{"test": {"head": 0.7, "full": 0.8}}, {"test": {"head": 0.9, "full": 0.6}}]
    assert measured.regret(runs, lambda run: "full") == pytest.approx(0.15)
    assert measured.regret(runs, lambda run: "head") == pytest.approx(0.05)
