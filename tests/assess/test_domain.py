"""Distances as they are told: each inside what it can be."""

import numpy as np

from tf_transfer.assess import domain


def test_squared_distances_have_no_interval_below_nought():
    """Few pictures of one domain, of whose halves the spread is larger than the distance."""
    lows = []
    for seed in range(3):
        one, other = np.random.default_rng(seed).normal(size=(2, 40, 3))
        found = domain.distances(one, other, seed)
        assert all(0 <= found[name]["low"] <= found[name]["value"] for name in ("coral", "frechet"))
        lows += [found["coral"]["low"], found["frechet"]["low"], found["mmd"]["low"]]
    # They would have been below it; unbiased MMD may be.
    assert lows.count(0.0) >= 3 and min(lows) < 0
