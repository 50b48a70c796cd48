"""Forecasts of how well a pretrained network will do on a task, from its features and the labels, without training it.

All take float `[N, D]` features of labelled examples of the target and int `[N]` labels in [0, C); larger is better.
They raise ValueError for other shapes, and for features that are NaN or infinite.
None is on a scale of its own: they rank networks on one target.
"""

import numpy as np
from scipy.optimize import minimize_scalar

from tf_transfer.evaluation.classification import right
from tf_transfer.evaluation.finite import check_finite
from tf_transfer.evaluation.metrics import log_softmax

# Ratios of the noise of the labels to that of the weights that `logme` tries before it refines the best.
_RATIOS = np.logspace(-12, 12, 97)
# Principal components that scores of Gaussians look at.
_COMPONENTS = 64


def knn_correct(features: np.ndarray, labels: np.ndarray, k: int = 5) -> np.ndarray:
    """Returns bool `[N]`: whether the vote of the `k` nearest other examples, by cosine, is right.

    The nearer one breaks ties. Its mean is the leave-one-out accuracy, in [0, 1].

    Args:
        features: float `[N, D]`, N > k.
        labels: int `[N]`.
        k: votes.

    Raises:
        ValueError: fewer than k + 1 examples, or other shapes.
    """
    x, y = _checked(features, labels, k + 1)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    correct = np.empty(len(x), bool)
    # Fewer than one vote in all: it decides ties only, for the class of the nearest.
    weight = 1.0 + 0.5 ** np.arange(1, k + 1)
    for start in range(0, len(x), 1024):
        rows = np.arange(start, min(start + 1024, len(x)))
        similarity = x[rows] @ x.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(similarity, nearest, 1), axis=1, kind="stable")
        votes = np.zeros((len(rows), y.max() + 1))
        np.add.at(votes, (np.arange(len(rows))[:, None], y[np.take_along_axis(nearest, order, 1)]), weight / 2)
        correct[rows] = right(votes, y[rows])
    return correct


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """Returns LogME: the log evidence per example of a Bayesian linear model, mean over the classes.

    For each class, y (1 for its examples, else 0) is Gaussian with covariance I / beta + F F^T / alpha; the evidence
    ln N(y; 0, .) is maximised over alpha and beta. Here exactly: for each ratio t = alpha / beta the best beta is known
    in closed form, and what is left is a function of t alone. The published fixed point stops early, and counts
    min(N, D) in place of D eigenvalues.

    Args:
        features: float `[N, D]`.
        labels: int `[N]`.

    References:
        You et al., "LogME: practical assessment of pre-trained models for transfer learning", ICML 2021.
    """
    x, y = _checked(features, labels, 2)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    eigenvalues, classes = np.square(s), np.unique(y)
    scale = max(eigenvalues[0], np.finfo(float).tiny)
    found = []
    for c in classes:
        target = (y == c).astype(np.float64)
        along = np.square(u.T @ target)
        # What of y no weights can reach.
        beside = max(0.0, target.sum() - along.sum())
        found.append(_evidence(eigenvalues / scale, along, beside, len(y)))
    return float(np.mean(found) / len(y))


def _evidence(eigenvalues: np.ndarray, along: np.ndarray, beside: float, n: int) -> float:
    """Returns the log evidence of one class, maximised."""

    def negative(log_t):
        t = np.exp(log_t)
        misfit = np.maximum((along * (t / (eigenvalues + t))).sum() + beside, np.finfo(float).tiny)
        return 0.5 * (n * np.log(2 * np.pi * misfit / n) + n + np.log1p(eigenvalues / t).sum())

    grid = np.log(_RATIOS)
    best = int(np.argmin([negative(g) for g in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return -float(min(minimize_scalar(negative, bounds=(low, high), method="bounded").fun, negative(grid[best])))


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Returns the regularised H-score, tr(S^-1 (1 - a) B): the share of the features' variance between the classes.

    B is the covariance of the class means, S the Ledoit-Wolf estimate of the features' covariance and `a` its
    shrinkage. Without it, N < D gives the largest value there is to pure noise. In [0, min(C - 1, D)].

    Args:
        features: float `[N, D]`.
        labels: int `[N]`.

    References:
        Bao et al., ICIP 2019; Ibrahim et al., "Newer is not always better: rethinking transferability metrics, their
        peculiarities, stability and performance", ECML PKDD 2022; Ledoit and Wolf, 2004.
    """
    from sklearn.covariance import ledoit_wolf

    x, y = _checked(features, labels, 2)
    x = x - x.mean(0)
    covariance, shrinkage = ledoit_wolf(x, assume_centered=True)
    counts = np.bincount(y)
    means = (
        np.stack([x[y == c].mean(0) for c in np.flatnonzero(counts)]) * np.sqrt(counts[counts > 0] / len(y))[:, None]
    )
    return float((1.0 - shrinkage) * np.sum(means * np.linalg.solve(covariance, means.T).T))


def gbc(features: np.ndarray, labels: np.ndarray, components: int = _COMPONENTS) -> float:
    """Returns the Gaussian Bhattacharyya coefficient, minus the sum over pairs of classes of their overlap exp(-D_B).

    Each class is a Gaussian of independent features, after a projection to the principal components. In
    [-C (C - 1), 0]; 0 where no two classes overlap.

    Args:
        features: float `[N, D]`, with 2 examples of each class.
        labels: int `[N]`.
        components: principal components at most.

    References:
        Pandy et al., "Transferability estimation using Bhattacharyya class separability", CVPR 2022.
    """
    x, y = _checked(features, labels, 2)
    x = _principal(x, components)
    classes = [c for c in np.unique(y) if (y == c).sum() > 1]
    if len(classes) < 2:
        raise ValueError("expected two classes or more with two examples each.")
    mean = np.stack([x[y == c].mean(0) for c in classes])
    floor = 1e-6 * max(x.var(), np.finfo(float).tiny)
    variance = np.stack([x[y == c].var(0) for c in classes]) + floor
    overlap = 0.0
    for m, v in zip(mean, variance, strict=True):
        between = (v + variance) / 2
        distance = np.square(m - mean) / between / 8 + np.log(between / np.sqrt(v * variance)) / 2
        overlap += np.exp(-distance.sum(1)).sum()
    # Each class overlaps itself wholly: that does not count.
    return float(len(classes) - overlap)


def transrate(
    features: np.ndarray, labels: np.ndarray, distortion: float = 1e-4, components: int = _COMPONENTS
) -> float:
    """Returns TransRate: the coding rate of all features less the mean rate within the classes, in nats.

    R(Z) = 1/2 ln det(I + Z^T Z / (N e)) on centred features of unit mean square; the classes weigh by their examples.
    With more features than examples of a class, any labels would score: only the first principal components count.

    Args:
        features: float `[N, D]`.
        labels: int `[N]`.
        distortion: e.
        components: principal components at most.

    References:
        Huang et al., "Frustratingly easy transferability estimation", ICML 2022.
    """
    x, y = _checked(features, labels, 2)
    x = _principal(x, components)
    x = x / max(np.sqrt(np.mean(np.square(x).sum(1))), np.finfo(float).tiny)
    within = sum((y == c).mean() * _coding_rate(x[y == c], distortion) for c in np.unique(y))
    return float(_coding_rate(x, distortion) - within)


def _principal(x: np.ndarray, components: int) -> np.ndarray:
    """Returns the centred features along their first principal components."""
    x = x - x.mean(0)
    _, _, directions = np.linalg.svd(x, full_matrices=False)
    return x @ directions[:components].T


def _coding_rate(x: np.ndarray, distortion: float) -> float:
    small = x @ x.T if len(x) < x.shape[1] else x.T @ x
    return 0.5 * np.linalg.slogdet(np.eye(len(small)) + small / (len(x) * distortion))[1]


def leep(source_logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns LEEP: the mean log likelihood of the labels under the source model's classes, in nats, at most 0.

    Args:
        source_logits: float `[N, Z]`, what the source model with its own head says of the target's examples.
        labels: int `[N]`.

    References:
        Nguyen et al., "LEEP: a new measure to evaluate transferability of learned representations", ICML 2020.
    """
    logits, y = _checked(source_logits, labels, 1)
    theta = np.exp(log_softmax(logits))
    joint = np.stack([theta[y == c].sum(0) for c in range(y.max() + 1)]) / len(y)
    conditional = joint / np.maximum(joint.sum(0), np.finfo(float).tiny)
    return float(np.mean(np.log((theta * conditional[y]).sum(1))))


def nce(source_logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns NCE, minus the entropy of the labels given the source model's hard predictions, in nats, at most 0.

    Args:
        source_logits: float `[N, Z]`.
        labels: int `[N]`.

    References:
        Tran et al., "Transferability and hardness of supervised classification tasks", ICCV 2019, eq. 3.
    """
    logits, y = _checked(source_logits, labels, 1)
    table = np.zeros((logits.shape[1], y.max() + 1))
    np.add.at(table, (logits.argmax(1), y), 1.0 / len(y))
    given = np.broadcast_to(table.sum(1, keepdims=True), table.shape)
    there = table > 0
    return float(np.sum(table[there] * np.log(table[there] / given[there])))


def _checked(features: np.ndarray, labels: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(features, np.float64), np.asarray(labels)
    if x.ndim != 2 or y.shape != x.shape[:1] or len(x) < least or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(
            f"expected float [N, D] and int [N] with N of at least {least}, got {list(x.shape)} and {list(y.shape)}."
        )
    check_finite(features=x)
    return x, y
