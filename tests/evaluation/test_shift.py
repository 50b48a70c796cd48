"""Corruption errors by hand."""

import numpy as np
import pytest

from tf_transfer.evaluation import shift

OURS, THEIRS = np.array([[0.8, 0.6], [0.9, 0.7]]), np.array([[0.6, 0.2], [0.9, 0.7]])


def test_by_hand():
    assert shift.mean_corrupted_accuracy(OURS) == pytest.approx(0.75)
    np.testing.assert_allclose(shift.corruption_error(OURS, THEIRS), [0.6 / 1.2, 1.0])
    # Of 0.9 clean: lost 0.1 + 0.3 against 0.3 + 0.7, then 0 + 0.2 against the same.
    found = shift.relative_corruption_error(OURS, 0.9, THEIRS, 0.9)
    np.testing.assert_allclose(found, [0.4, 1.0])
    assert shift.relative_robustness(OURS, 0.9) == pytest.approx(0.75 / 0.9)


def test_a_reference_that_loses_nothing_gives_no_share():
    assert np.isnan(shift.relative_corruption_error(OURS, 0.9, np.full((2, 2), 0.5), 0.5)).all()
    assert np.isnan(shift.corruption_error(OURS, np.ones((2, 2)))).all()
    assert np.isnan(shift.relative_robustness(OURS, 0.0))
