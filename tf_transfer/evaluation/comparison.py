"""Accuracies of trainings repeated with several seeds, and differences of two kinds on the same examples."""

from collections.abc import Sequence

import numpy as np

from tf_transfer.evaluation.statistics import mcnemar_exact, wilson_interval

_RESAMPLES = 2000


def accuracy_interval(correct: np.ndarray, level: float = 0.95, seed: int = 0) -> dict[str, float]:
    """Returns the mean accuracy of a kind of training, with its interval over examples and seeds.

    With one seed it is Wilson's interval, which covers the examples alone. With several it is the pigeonhole bootstrap,
    which draws examples and seeds independently: it is conservative in the examples, and says little with two or three
    seeds.

    Args:
        correct: bool `[S, N]`, whether training s is right on example i; `[N]` for one.
        level: two-sided confidence level, in (0, 1).
        seed: of the resamples.

    Returns:
        `value`, `low` and `high` in [0, 1], `n` examples and `seeds`.

    References:
        Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007.
    """
    correct = _stacked(correct)
    seeds, n = correct.shape
    if seeds == 1:
        low, high = wilson_interval(float(correct.sum()), n, level)
    else:
        low, high = _quantiles(_pigeonhole([correct], seed), level)
        # At 100 % all resamples are alike: the interval is at least as wide as that of one training.
        least = wilson_interval(float(correct.mean() * n), n, level)
        low, high = min(low, least[0]), max(high, least[1])
    return {"value": float(correct.mean()), "low": low, "high": high, "n": n, "seeds": seeds}


def without_copies(correct: np.ndarray, copies: np.ndarray) -> dict[str, float]:
    """Returns the accuracy on the test examples that are no copies of training ones.

    Args:
        correct: bool `[N]`, whether the model is right on each example.
        copies: bool `[N]`, whether the example is a copy.

    Returns:
        `copies`, their number, and the `accuracy_interval` of the others, where there are any.
    """
    others = correct[~copies]
    return {"copies": int(copies.sum())} | (accuracy_interval(others) if len(others) else {})


def accuracy_difference(a: np.ndarray, b: np.ndarray, level: float = 0.95, seed: int = 0) -> dict[str, float]:
    """Accuracy of a less that of b on the same examples, with its interval by a paired bootstrap.

    One example that only a gets right and one that only b does are added to the resampled ones: without them, models
    that agree on all of twenty examples would differ by 0 to 0 (Bonett and Price 2012 add the same to their formula).
    Exchanging a and b changes the sign alone: each resample counts twice, once with the two added examples exchanged.

    Args:
        a: bool `[S, N]` or `[N]`.
        b: bool `[T, N]` or `[N]`; seeds are paired where S = T.
        level: two-sided confidence level, in (0, 1).
        seed: of the resamples.

    Returns:
        `value`, `low` and `high` in [-1, 1], `n` and `seeds`.

    Raises:
        ValueError: a and b have different numbers of examples.
    """
    a, b = _stacked(a).astype(float), _stacked(b).astype(float)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a and b must be of the same examples, got {a.shape[1]} and {b.shape[1]}.")
    # Unpaired seeds are drawn for each side, the smaller side first: exchanging a and b changes no draw.
    parts = [a - b] if len(a) == len(b) else sorted([a, -b], key=len)
    low, high = _quantiles(_pigeonhole(parts, seed, added=(1.0, -1.0)), level)
    value = float(a.mean() - b.mean())
    return {
        "value": value,
        "low": min(low, value),
        "high": max(high, value),
        "n": a.shape[1],
        "seeds": min(len(a), len(b)),
    }


def pairwise(correct: dict[str, np.ndarray]) -> list[dict]:
    """Compares every two models on the same examples: difference, exact McNemar test, and Holm's correction.

    Args:
        correct: bool `[N]` by model.

    Returns:
        A record for each pair: `a`, `b`, `difference` of `accuracy_difference`, `p_value` and `p_holm`.
    """
    names = list(correct)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    found = [
        {
            "a": a,
            "b": b,
            "difference": accuracy_difference(correct[a], correct[b]),
            "p_value": mcnemar_exact(correct[a], correct[b])["p_value"],
        }
        for a, b in pairs
    ]
    adjusted = holm([record["p_value"] for record in found])
    return [record | {"p_holm": p} for record, p in zip(found, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for multiple comparisons: those below 0.05 hold together at that level.

    References:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def worst_class(correct: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Class with the lowest accuracy, the first of equal ones, with Wilson's interval.

    The interval is biased downwards: the class was picked for its low accuracy.

    Args:
        correct: bool `[N]`.
        labels: int `[N]`.
    """
    counts = np.bincount(labels)
    hits = np.bincount(labels, correct.astype(float), len(counts))
    accuracy = np.where(counts > 0, hits / np.maximum(counts, 1), np.inf)
    worst = int(np.argmin(accuracy))
    low, high = wilson_interval(float(hits[worst]), int(counts[worst]))
    return {"class": worst, "value": float(accuracy[worst]), "low": low, "high": high, "n": int(counts[worst])}


def _stacked(correct: np.ndarray) -> np.ndarray:
    correct = np.atleast_2d(np.asarray(correct))
    if correct.ndim != 2 or not correct.size:
        raise ValueError(f"expected [S, N] or [N] of at least one example, got {correct.shape}.")
    return correct


def _pigeonhole(parts: Sequence[np.ndarray], seed: int, added: tuple[float, float] | None = None) -> np.ndarray:
    """Returns `[R]` sums of the means of `[S, N]` values: rows drawn in each, columns in all at once.

    With two added columns every draw counts twice, once with the two exchanged: values of opposite sign then give
    means of opposite sign, to the bit.
    """
    rng = np.random.default_rng(seed)
    ends = [np.array(added), np.array(added[::-1])] if added else [np.array([])]
    means = []
    for _ in range(_RESAMPLES // len(ends)):
        drawn = sum(
            values[rng.integers(0, len(values), len(values))].mean(0) if len(values) > 1 else values[0]
            for values in parts
        )
        columns = rng.integers(0, len(drawn) + len(ends[0]), len(drawn) + len(ends[0]))
        means += [np.concatenate([drawn, end])[columns].mean() for end in ends]
    return np.array(means)


def _quantiles(values: np.ndarray, level: float) -> tuple[float, float]:
    """Returns the lower and the upper quantile; the upper as the lower of the negative ones, which mirrors exactly."""
    tail = (1 - level) / 2
    return float(np.quantile(values, tail)), -float(np.quantile(-values, tail))
