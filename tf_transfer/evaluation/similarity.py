"""How much a network changed: similarity of its features, distance of its weights."""

from collections.abc import Mapping

import numpy as np

from tf_transfer.evaluation.finite import check_finite


def cka(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the linear centred kernel alignment of two sets of features of the same examples, in [0, 1].

    1 where one is the other rotated and scaled. Debiased estimates of each term: with more features than examples the
    plain one is near 1 for anything.

    Args:
        first: float `[N, D]`, N of at least 4.
        second: float `[N, E]`.

    Raises:
        ValueError: other shapes, or numbers that are not finite.

    References:
        Kornblith et al., "Similarity of neural network representations revisited", ICML 2019; the unbiased HSIC: Song
        et al., JMLR 2012, eq. 5.
    """
    x, y = (np.asarray(a, np.float64) for a in (first, second))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 4:
        raise ValueError(f"expected [N, D] and [N, E] with N of at least 4, got {list(x.shape)} and {list(y.shape)}.")
    check_finite(first=x, second=y)
    grams = []
    for a in (x, y):
        a = a - a.mean(0)
        gram = a @ a.T
        np.fill_diagonal(gram, 0.0)
        grams.append(gram)
    cross, own, other = _hsic(*grams), _hsic(grams[0], grams[0]), _hsic(grams[1], grams[1])
    # Of features that do not vary, or vary as noise does, nothing can be said to be kept.
    return float(np.clip(cross / np.sqrt(own * other), 0.0, 1.0)) if own > 0 and other > 0 else 0.0


def _hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Returns the unbiased estimate for two Gram matrices with zeros on their diagonals."""
    n = len(k)
    rows = k.sum(0) @ m.sum(0)
    return ((k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


def weight_distance(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> float:
    """Returns ||w' - w|| / ||w|| over all arrays of the same names, 0 where nothing moved.

    Args:
        before: arrays by name.
        after: the same names and shapes.

    Raises:
        ValueError: weights are not finite.
    """
    for name in before:
        check_finite(**{f"before[{name!r}]": before[name], f"after[{name!r}]": after[name]})
    moved = sum(float(np.square(np.asarray(after[n], np.float64) - before[n]).sum()) for n in before)
    length = sum(float(np.square(np.asarray(before[n], np.float64)).sum()) for n in before)
    return float(np.sqrt(moved / length)) if length else 0.0
