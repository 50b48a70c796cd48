"""The blind guess against scikit-learn's constant classifier."""

import numpy as np
import pytest
import sklearn.metrics as sk

from tf_transfer.evaluation import blind_guess, wilson_interval


@pytest.mark.parametrize(
    ("counts", "labels", "named"),
    [
        ([300, 12], [0] * 90 + [1] * 3, 0),
        # What training shows most often is rare in the test split, or never there.
        ([5, 7, 6], [0] * 4 + [1] + [2] * 9, 1),
        ([5, 7, 6], [0] * 4 + [2] * 9, 1),
        # As frequent in training, as under a budget of labels: the strongest control.
        ([4, 4, 4], [0] * 2 + [1] * 2 + [2] * 9, 2),
    ],
)
def test_it_is_the_constant_classifier(counts, labels, named):
    found, guess = blind_guess(counts, np.array(labels)), [named] * len(labels)
    accuracy = found["metrics"]["accuracy"]
    assert found["label"] == named
    assert accuracy["value"] == pytest.approx(sk.accuracy_score(labels, guess))
    assert (accuracy["low"], accuracy["high"]) == wilson_interval(labels.count(named), len(labels))
    there = sorted({*labels})
    recalls = sk.recall_score(labels, guess, labels=there, average=None, zero_division=0)
    assert found["metrics"]["balanced_accuracy"]["value"] == pytest.approx(recalls.mean())
    f1 = sk.f1_score(labels, guess, average="macro", zero_division=0)
    assert found["metrics"]["macro_f1"]["value"] == pytest.approx(f1)
