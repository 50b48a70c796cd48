"""How much a network changed."""

import numpy as np
import pytest

from tf_transfer.evaluation import similarity

RANDOM = np.random.default_rng(0)


def test_rotations_and_scales_play_no_part():
    x = RANDOM.normal(size=(50, 6))
    q, _ = np.linalg.qr(RANDOM.normal(size=(6, 6)))
    assert similarity.cka(x, 3 * x @ q + 1) == pytest.approx(1.0)


@pytest.mark.parametrize("d", [5, 2000])
def test_independent_features_are_not_alike_however_many_they_are(d):
    found = [similarity.cka(RANDOM.normal(size=(40, d)), RANDOM.normal(size=(40, d))) for _ in range(10)]
    assert np.mean(found) < 0.1


def test_many_examples_give_the_plain_formula():
    x = RANDOM.normal(size=(3000, 4))
    y = x @ RANDOM.normal(size=(4, 3)) + RANDOM.normal(size=(3000, 3))
    a, b = x - x.mean(0), y - y.mean(0)
    plain = np.square(a.T @ b).sum() / np.sqrt(np.square(a.T @ a).sum() * np.square(b.T @ b).sum())
    assert similarity.cka(x, y) == pytest.approx(plain, abs=5e-3)


def test_features_that_do_not_vary_are_like_nothing():
    assert similarity.cka(np.ones((5, 3)), RANDOM.normal(size=(5, 3))) == 0.0
    with pytest.raises(ValueError, match="N of at least 4"):
        similarity.cka(np.ones((3, 3)), np.ones((3, 3)))


def test_weight_distance_by_hand():
    before = {"a": np.array([3.0, 4.0]), "b": np.zeros((2, 2))}
    after = {"a": np.array([3.0, 4.0]), "b": np.array([[1.0, 0.0], [0.0, 0.0]])}
    assert similarity.weight_distance(before, after) == pytest.approx(0.2)
    assert similarity.weight_distance(before, before) == 0.0
