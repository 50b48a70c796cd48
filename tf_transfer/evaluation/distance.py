"""How far two domains lie apart in a feature space: pure functions of two sets of features.

All take float `[N, D]` features of a source and `[M, D]` of a target from one network. A distance says how different
the examples look to that network, not how hard the target's task is.
Features that are NaN or infinite are a ValueError.
"""

from collections.abc import Iterator

import numpy as np
from scipy.spatial.distance import cdist, pdist

from tf_transfer.evaluation.finite import check_finite

# Widths of the kernels of `mmd`, times the median heuristic.
MMD_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
# Inverse L2 strengths from which the domain classifier chooses.
PAD_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def proxy_a_distance(source: np.ndarray, target: np.ndarray, folds: int = 5, seed: int = 0) -> dict[str, float]:
    """Returns the proxy A-distance: how well a linear classifier tells the domains apart on features it has not seen.

    2 (1 - 2 e), where e is the error of a logistic regression on held-out examples, equally many of each domain: 0
    where the domains cannot be told apart, 2 where they always can. Each fold chooses its L2 on a third of its training
    part.
    Values below 0, which chance gives near 0, are kept.

    Args:
        source: float `[N, D]`.
        target: float `[M, D]`; a random part of the larger set is used.
        folds: of the cross-validation, at least 2.
        seed: of that part and of the folds.

    Returns:
        `value`, its 95 % interval `low` and `high` (Wilson's of the error), and `n`, the examples judged.

    Raises:
        ValueError: one has fewer than `3 * folds` examples, or the shapes do not fit each other.

    References:
        Ben-David et al., "Analysis of representations for domain adaptation", NIPS 2006; Ganin et al., JMLR 2016,
        5.1.4.
    """
    from tf_transfer.evaluation.statistics import wilson_interval

    source, target = _checked(source, target, 3 * folds)
    rng, size = np.random.default_rng(seed), min(len(source), len(target))
    features = np.concatenate([_some(source, size, rng), _some(target, size, rng)])
    labels = np.repeat([0, 1], size)
    # Each fold holds equally many of each domain.
    fold = np.concatenate([rng.permutation(size) % folds for _ in range(2)])
    wrong = sum(_wrong(features, labels, fold == k, rng) for k in range(folds))
    low, high = wilson_interval(wrong, 2 * size)
    value = {"value": wrong / (2 * size), "low": high, "high": low}
    return {name: 2.0 * (1.0 - 2.0 * e) for name, e in value.items()} | {"n": 2 * size}


def _wrong(features: np.ndarray, labels: np.ndarray, held: np.ndarray, rng: np.random.Generator) -> int:
    """Number of held-out examples that a classifier, trained on the others, gets wrong."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler().fit(features[~held])
    x, y = scale.transform(features[~held]), labels[~held]
    inner = rng.permutation(len(y)) % 3 == 0
    scores = []
    for strength in PAD_STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=200).fit(x[~inner], y[~inner])
        scores.append(model.score(x[inner], y[inner]))
    best = LogisticRegression(C=PAD_STRENGTHS[int(np.argmax(scores))], max_iter=200).fit(x, y)
    return int(np.sum(best.predict(scale.transform(features[held])) != labels[held]))


def mmd(source: np.ndarray, target: np.ndarray, permutations: int = 500, seed: int = 0) -> dict[str, float]:
    """Returns the unbiased squared maximum mean discrepancy, with the p-value of "one domain" by permutation.

    The kernel is the mean of five Gaussians exp(-d^2 / (2 s^2)), s the median distance of all pairs times 1/4 to 4.
    Its expectation is zero where both are drawn from one distribution; it may be negative.

    Args:
        source: float `[N, D]`, at least 2 rows.
        target: float `[M, D]`, at least 2 rows.
        permutations: of the labels of the domains; the p-value is at least 1 / (permutations + 1).
        seed: of the permutations.

    Returns:
        `value`, `p_value`, and `null_low` and `null_high`, the 95 % range of the value under one domain; `value` alone
        without permutations.

    References:
        Gretton et al., "A kernel two-sample test", JMLR 2012, eq. 3; several kernels: Long et al., ICML 2015.
    """
    source, target = _checked(source, target, 2)
    kernel = _kernel(np.concatenate([source, target]))
    np.fill_diagonal(kernel, 0.0)
    n, rng = len(source), np.random.default_rng(seed)
    first = np.zeros((permutations + 1, len(kernel)))
    first[0, :n] = 1.0
    for row in first[1:]:
        row[rng.choice(len(kernel), n, replace=False)] = 1.0
    values = _mmd_of(kernel, first)
    if not permutations:
        return {"value": float(values[0])}
    low, high = np.quantile(values[1:], [0.025, 0.975])
    p_value = float(np.mean(values >= values[0]))
    return {"value": float(values[0]), "p_value": p_value, "null_low": float(low), "null_high": float(high)}


def _kernel(features: np.ndarray) -> np.ndarray:
    squared = cdist(features, features, "sqeuclidean")
    median = np.median(pdist(features, "sqeuclidean"))
    if median == 0:
        # More than half of all pairs are equal: the mean tells them from the rest.
        median = squared.mean() or 1.0
    return np.mean([np.exp(-squared / (2.0 * scale**2 * median)) for scale in MMD_SCALES], axis=0)


def _mmd_of(kernel: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Returns the estimate for each row of `first` `[R, N + M]`, 1 where an example counts for the first domain."""
    second = 1.0 - first
    n, m = first[0].sum(), second[0].sum()
    by_first, by_second = first @ kernel, second @ kernel
    within = (by_first * first).sum(1) / (n * (n - 1)) + (by_second * second).sum(1) / (m * (m - 1))
    return within - 2.0 * (by_first * second).sum(1) / (n * m)


def coral_distance(source: np.ndarray, target: np.ndarray) -> float:
    """Returns the CORAL distance, ||C_s - C_t||_F^2 / (4 D^2) of the two covariance matrices.

    Args:
        source: float `[N, D]`, at least 2 rows.
        target: float `[M, D]`, at least 2 rows.

    References:
        Sun and Saenko, "Deep CORAL", ECCV workshops 2016, eq. 1: covariances by N - 1 and the squared norm.
    """
    source, target = _checked(source, target, 2)
    difference = np.cov(source, rowvar=False) - np.cov(target, rowvar=False)
    return float(np.sum(np.square(difference)) / (4.0 * source.shape[1] ** 2))


def frechet_distance(source: np.ndarray, target: np.ndarray) -> float:
    """Returns the squared Frechet distance of two Gaussians fitted to the features.

    ||m_s - m_t||^2 + tr(C_s + C_t - 2 (C_s C_t)^(1/2)). It falls with the number of examples: compare at equal n, and
    with `frechet_floor`.

    Args:
        source: float `[N, D]`, at least 2 rows.
        target: float `[M, D]`, at least 2 rows.

    References:
        Dowson and Landau, J. Multivariate Analysis 1982; Heusel et al., NIPS 2017.
    """
    source, target = _checked(source, target, 2)
    a, b = (x - x.mean(0) for x in (source, target))
    # The eigenvalues of C_s C_t are the squared singular values of A B^T / sqrt((N - 1)(M - 1)), where A and B are the
    # centred features: exact, and without a matrix root, also where there are fewer examples than features.
    root = np.linalg.svd(a @ b.T if len(a) + len(b) < 2 * a.shape[1] else _root_product(a, b), compute_uv=False).sum()
    root /= np.sqrt((len(a) - 1.0) * (len(b) - 1.0)) if len(a) + len(b) < 2 * a.shape[1] else 1.0
    spread = np.square(a).sum() / (len(a) - 1) + np.square(b).sum() / (len(b) - 1)
    return float(np.square(source.mean(0) - target.mean(0)).sum() + spread - 2.0 * root)


def _root_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns C_a^(1/2) C_b^(1/2), whose singular values are the roots of the eigenvalues of C_a C_b."""
    roots = []
    for x in (a, b):
        values, vectors = np.linalg.eigh(x.T @ x / (len(x) - 1))
        roots.append(vectors * np.sqrt(np.maximum(values, 0.0)))
    return roots[0].T @ roots[1]


def frechet_floor(source: np.ndarray, size: int, repeats: int = 5, seed: int = 0) -> tuple[float, float]:
    """Returns the mean and the largest Frechet distance of two disjoint random parts of one domain.

    Args:
        source: float `[N, D]`.
        size: examples in each part, at most N / 2.
        repeats: how often.
        seed: of the parts.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(repeats):
        order = rng.permutation(len(source))
        found.append(frechet_distance(source[order[:size]], source[order[size : 2 * size]]))
    return float(np.mean(found)), float(np.max(found))


def _some(features: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return features[rng.choice(len(features), size, replace=False)]


def _checked(source: np.ndarray, target: np.ndarray, least: int) -> Iterator[np.ndarray]:
    arrays = [np.asarray(x, np.float64) for x in (source, target)]
    if any(x.ndim != 2 or len(x) < least for x in arrays) or arrays[0].shape[1] != arrays[1].shape[1]:
        shapes = " and ".join(str(list(x.shape)) for x in arrays)
        raise ValueError(f"source and target must be [N, D] and [M, D] with at least {least} rows each, got {shapes}.")
    check_finite(source=arrays[0], target=arrays[1])
    return arrays
