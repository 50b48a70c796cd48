"""How sure a measured number is: intervals and the paired test of two models."""

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist

import numpy as np
from scipy.special import bdtr

# Largest matrix of resample counts held at once: 8M float64, 64 MB.
_ENTRIES = 1 << 23


def wilson_interval(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Returns the Wilson score interval of a proportion.

    Unlike value +- z * standard error, it stays inside [0, 1] and has a width at 0 % and 100 %.

    Args:
        successes: how many of the `n` trials succeeded, in [0, n].
        n: number of trials; with none of them nothing is known and the interval is (0, 1).
        level: two-sided confidence level, in (0, 1).

    Returns:
        (low, high), both in [0, 1].

    Raises:
        ValueError: `successes` is not in [0, n].

    References:
        Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, n={n}], got {successes}.")
    if n == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    centre = (successes + z2 / 2) / (n + z2)
    half = (z2 * successes * (n - successes) / n + z2 * z2 / 4) ** 0.5 / (n + z2)
    # At the two ends the formula gives exactly 0 and 1, rounding does not.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def mean_share_interval(successes: Sequence[int], n: Sequence[int], level: float = 0.95) -> tuple[float, float]:
    """Returns the interval of the mean of several independent proportions, such as the recalls of all classes.

    Each proportion's Wilson interval gives its distance to either end; the distances add up in squares (MOVER, the
    method of variance estimates recovery). It has a width where all proportions are 0 % or 100 %; of one proportion it
    is Wilson's interval.

    Args:
        successes: of each proportion.
        n: number of trials of each, at least 1.
        level: two-sided confidence level, in (0, 1).

    Returns:
        (low, high), both in [0, 1].

    References:
        Zou, Huang and Zhang, "A note on confidence interval estimation for a linear function of binomial proportions",
        Computational Statistics & Data Analysis 2009.
    """
    shares = np.asarray(successes) / np.asarray(n)
    ends = np.array([wilson_interval(k, size, level) for k, size in zip(successes, n, strict=True)])
    below, above = (float(np.sqrt(np.sum((shares - end) ** 2))) / len(shares) for end in ends.T)
    return max(0.0, float(shares.mean()) - below), min(1.0, float(shares.mean()) + above)


def bootstrap_interval(
    statistic: Callable[..., np.ndarray | float],
    *arrays: np.ndarray,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    weighted: bool = False,
    entries: int = _ENTRIES,
) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of a statistic of examples.

    Args:
        statistic: `statistic(*arrays) -> float`, called on every resample. With `weighted`,
            `statistic(*arrays, weights=counts) -> [R]` instead, where `counts` is float64 `[R, N]`,
            how often each example was drawn; much faster, and the same interval.
        *arrays: arrays of N rows each, resampled together: row i of all of them is one example.
        n_resamples: number of resamples.
        level: two-sided confidence level, in (0, 1).
        seed: the interval is a pure function of the arguments.
        weighted: the statistic takes counts, see above.
        entries: of the largest matrix of resamples that is held at once; the interval is the same.

    Raises:
        ValueError: no rows, or arrays of different lengths.

    References:
        Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    lengths = {len(a) for a in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"arrays must have the same number of rows, at least 1; got {sorted(lengths)}.")
    n = lengths.pop()
    values = []
    for rows in _resamples(n, n_resamples, seed, entries):
        if weighted:
            values.append(statistic(*arrays, weights=_counts(rows)))
        else:
            values.append([statistic(*(a[r] for a in arrays)) for r in rows])
    low, high = np.quantile(np.concatenate(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resamples(n: int, n_resamples: int, seed: int, entries: int) -> Iterator[np.ndarray]:
    """Yields int `[R, n]` row indices drawn with replacement, `n_resamples` in all."""
    rng = np.random.default_rng(seed)
    step = max(1, entries // n)
    for start in range(0, n_resamples, step):
        yield rng.integers(0, n, (min(step, n_resamples - start), n))


def _counts(rows: np.ndarray) -> np.ndarray:
    """Returns float64 `[R, n]`: how often each example stands in each resample."""
    resamples, n = rows.shape
    flat = rows + n * np.arange(resamples)[:, None]
    return np.bincount(flat.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def mcnemar_exact(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, float | int]:
    """Tests whether two models differ in accuracy on the same examples.

    Only the examples that exactly one of them gets right tell them apart; under no difference each
    model wins half of these. Exact binomial, two-sided.

    Args:
        correct_a: bool `[N]`, whether model a is right on each example.
        correct_b: bool `[N]`, the same of model b, in the same order.

    Returns:
        `p_value`, and the counts `only_a` and `only_b` of examples that only one gets right.

    Raises:
        ValueError: the two are not of the same one-dimensional shape.

    References:
        McNemar, "Note on the sampling error of the difference between correlated proportions", 1947.
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"correct_a and correct_b must be [N], got shapes {a.shape} and {b.shape}.")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    p_value = min(1.0, 2.0 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return {"p_value": p_value, "only_a": only_a, "only_b": only_b}
