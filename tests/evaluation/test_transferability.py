"""Forecasts against closed forms, brute force and what chance gives."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from tf_transfer.evaluation import transferability as tr

RANDOM = np.random.default_rng(0)


def blobs(n=120, d=10, classes=3, apart=3.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, d)) + apart * rng.normal(size=(classes, d))[y], y


SCORES = [tr.logme, tr.h_score, tr.gbc, tr.transrate]


def brute_logme(x, y):
    """The evidence itself, maximised over alpha and beta from several starts."""
    values = []
    for c in np.unique(y):
        target = (y == c).astype(float)

        def negative(p, target=target):
            covariance = np.eye(len(y)) * np.exp(-p[0]) + x @ x.T * np.exp(-p[1])
            return -multivariate_normal.logpdf(target, cov=covariance)

        starts = [(b, a) for b in (0, 2, 4) for a in (-2, 2, 6)]
        values.append(-min(minimize(negative, s, method="Nelder-Mead", tol=1e-10).fun for s in starts))
    return np.mean(values) / len(y)


@pytest.mark.parametrize(("n", "d"), [(40, 5), (12, 30), (20, 20)])
def test_logme_is_the_exact_evidence_at_its_maximum(n, d):
    x, y = blobs(n, d, 3, apart=0.5)
    assert tr.logme(x, y) == pytest.approx(brute_logme(x, y), abs=1e-5)


def test_h_score_is_the_closed_form_where_nothing_is_shrunk():
    x, y = blobs(60_000, 4, 3)
    centred = x - x.mean(0)
    means = np.stack([centred[y == c].mean(0) for c in range(3)])[y]
    expected = np.trace(np.linalg.inv(centred.T @ centred) @ (means.T @ means))
    assert tr.h_score(x, y) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("score", [tr.h_score, tr.logme])
def test_noise_does_not_score(score):
    """Fewer examples than features: what fits them without bound would score highest on noise."""
    noise, y = RANDOM.normal(size=(60, 300)), np.arange(60) % 3
    x = noise + 4 * RANDOM.normal(size=(3, 300))[y]
    assert score(x, y) > score(noise, y)
    shuffled = [score(x, RANDOM.permutation(y)) for _ in range(20)]
    assert score(x, y) > max(shuffled)
    if score is tr.h_score:
        # Unregularised, noise of more features than examples has the highest there is, 2.
        assert score(noise, y) < 0.3 < 1.5 < score(x, y) <= 2


def test_gbc_by_hand():
    # Two classes of one feature: D_B of two Gaussians.
    x = np.array([[0.0], [2.0], [9.0], [13.0]])
    y = np.array([0, 0, 1, 1])
    m, v = np.array([1.0, 11.0]), np.array([1.0, 4.0])
    distance = (m[0] - m[1]) ** 2 / v.mean() / 8 + np.log(v.mean() / np.sqrt(v.prod())) / 2
    assert tr.gbc(x, y) == pytest.approx(-2 * np.exp(-distance), rel=1e-3)


def test_transrate_by_hand():
    x, y = blobs(30, 4, 2)

    def rate(z):
        return 0.5 * np.log(np.linalg.det(np.eye(4) + z.T @ z / (len(z) * 0.01)))

    # Of three examples a class, fewer than features, the smaller matrix is taken: the determinant is the same.
    for n in (30, 6):
        z, c = x[:n] - x[:n].mean(0), y[:n]
        z /= np.sqrt((z**2).sum(1).mean())
        expected = rate(z) - 0.5 * rate(z[c == 0]) - 0.5 * rate(z[c == 1])
        assert tr.transrate(x[:n], c, 0.01) == pytest.approx(expected)


def test_leep_and_nce_by_hand():
    # A source model that is sure: both are minus the entropy of the label given its class.
    z, y = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    logits = np.where(np.arange(4) == z[:, None], 50.0, 0.0)
    expected = (3 * (2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) + 0 + 0) / 6
    assert tr.nce(logits, y) == pytest.approx(expected)
    assert tr.leep(logits, y) == pytest.approx(expected)
    # One that says nothing: the entropy of the labels, as far as LEEP goes.
    assert tr.leep(np.zeros((6, 4)), y) == pytest.approx(np.log(0.5))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_knn_is_that_of_scikit_learn_leaving_one_out(k):
    from sklearn.neighbors import KNeighborsClassifier

    x, y = blobs(90, 6, 3, apart=0.7)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = []
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        model = KNeighborsClassifier(k).fit(unit[others], y[others])
        votes = model.predict_proba(unit[i : i + 1])[0]
        top = np.flatnonzero(votes == votes.max())
        nearest = y[others][model.kneighbors(unit[i : i + 1])[1][0]]
        # Of equal votes that of the nearer neighbours.
        if len(top) > 1:
            weight = [0.5 ** (1 + np.flatnonzero(nearest == c)) for c in top]
            top = [top[int(np.argmax([w.sum() for w in weight]))]]
        expected.append(top[0] == y[i])
    np.testing.assert_array_equal(tr.knn_correct(x, y, k), expected)


@pytest.mark.parametrize("score", SCORES)
def test_classes_that_lie_further_apart_score_higher(score):
    found = [score(*blobs(300, apart=apart, seed=1)) for apart in (0.0, 0.5, 1.0, 3.0)]
    assert found == sorted(found) and found[0] < found[-1]


@pytest.mark.parametrize("score", [*SCORES, tr.leep, tr.nce])
def test_the_order_of_the_examples_and_of_the_classes_plays_no_part(score):
    x, y = blobs(apart=0.5)
    order = RANDOM.permutation(len(y))
    assert score(x[order], y[order]) == pytest.approx(score(x, y), rel=1e-6)
    assert score(x, 2 - y) == pytest.approx(score(x, y), rel=1e-6)


@pytest.mark.parametrize("score", [*SCORES, tr.leep, tr.nce, tr.knn_correct])
def test_other_shapes_are_refused(score):
    for x, y in [
        (np.zeros(5), np.zeros(5, int)),
        (np.zeros((5, 2)), np.zeros(4, int)),
        (np.zeros((5, 2)), np.zeros(5)),
    ]:
        with pytest.raises(ValueError, match="expected float"):
            score(x, y)
