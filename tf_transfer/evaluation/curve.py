"""How accuracy grows with labels: a power law of the error, and how many labels a goal takes.

The law, error = a k^(-b), is fitted to the largest budgets alone: over all of them error seldom follows one law
(Hestness et al., "Deep learning scaling is predictable, empirically", 2017: a small-data region comes first).
"""

from collections.abc import Sequence

import numpy as np

# Number of budgets, the largest ones, that a law is fitted to.
_FITTED = 3
_RESAMPLES = 1000
# Largest factor on the largest budget up to which a law is trusted.
REACH = 10.0


def fit_power_law(labels: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fits error = a k^(-b) by least squares of the logarithms.

    Args:
        labels: `[K]` labels a class, K of at least 2, positive.
        errors: `[..., K]` in (0, 1].

    Returns:
        a and b, each `[...]`.
    """
    x, y = np.log(np.asarray(labels, float)), np.log(np.asarray(errors, float))
    slope = ((x - x.mean()) * (y - y.mean(-1, keepdims=True))).sum(-1) / np.square(x - x.mean()).sum()
    return np.exp(y.mean(-1) - slope * x.mean()), -slope


def labels_needed(scale: np.ndarray, exponent: np.ndarray, error: float) -> np.ndarray:
    """Returns the labels a class at which a k^(-b) falls to `error`; infinity where it does not fall."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        needed = np.power(np.asarray(scale) / error, 1.0 / np.asarray(exponent))
    return np.where(np.asarray(exponent) > 1e-6, needed, np.inf)


def label_budget(labels: Sequence[float], correct: Sequence[np.ndarray], seed: int = 0) -> dict | None:
    """Fits the law to a measured label-budget curve and says what more labels would bring.

    Intervals come from a bootstrap that draws the same examples at all budgets, and the seeds of each.

    Args:
        labels: labels a class, ascending.
        correct: for each, bool `[S, N]`: whether training s is right on example i, the same N examples for all.
        seed: of the resamples.

    Returns:
        `exponent`, `doubling` (the accuracy gained by twice the labels) and `halving` (the labels a class at which half
        of the errors are gone), each with `value`, `low` and `high`; labels beyond `beyond` are None. `fitted`, the
        budgets used, and `seeds`, the smallest number of one of them: with one seed the intervals cover the examples
        alone.
        None with fewer than three budgets.
    """
    if len(labels) < _FITTED:
        return None
    fitted, answers = np.asarray(labels[-_FITTED:], float), correct[-_FITTED:]
    n, rng = answers[0].shape[1], np.random.default_rng(seed)
    measured = np.array([1.0 - np.mean(c) for c in answers])
    resampled = np.empty((_RESAMPLES, _FITTED))
    for row in resampled:
        items = rng.integers(0, n, n)
        for i, c in enumerate(answers):
            row[i] = 1.0 - c[rng.integers(0, len(c), len(c))][:, items].mean()
    # Zero has no logarithm: where no example is wrong, half a one counts as wrong.
    floor = 0.5 / n
    found = [_forecasts(fitted, np.maximum(errors, floor)) for errors in (measured, resampled)]
    told = {name: _estimate(float(found[0][name]), found[1][name]) for name in found[0]}
    told["halving"]["beyond"] = REACH * labels[-1]
    return {**told, "fitted": fitted.tolist(), "n": n, "seeds": min(map(len, answers))}


def _forecasts(labels: np.ndarray, errors: np.ndarray) -> dict[str, np.ndarray]:
    scale, exponent = fit_power_law(labels, errors)
    now = scale * labels[-1] ** -exponent
    halving = labels_needed(scale, exponent, now / 2)
    return {
        "exponent": exponent,
        "doubling": now * (1.0 - 2.0**-exponent),
        # Beyond the reach the law is not trusted: infinity says "further away".
        "halving": np.where(halving <= REACH * labels[-1], halving, np.inf),
    }


def _estimate(value: float, resampled: np.ndarray) -> dict[str, float | None]:
    low, high = np.quantile(resampled, [0.025, 0.975], method="nearest")
    return {k: float(v) if np.isfinite(v) else None for k, v in (("value", value), ("low", low), ("high", high))}


def labels_to_reach(labels: Sequence[float], accuracies: Sequence[float], goal: float) -> float | None:
    """Labels a class at which a measured curve first reaches an accuracy, log-linear between budgets.

    Args:
        labels: ascending, positive.
        accuracies: measured at each.
        goal: in [0, 1].

    Returns:
        The first budget where the curve begins at the goal or above; None where it never reaches it.
    """
    for i, accuracy in enumerate(accuracies):
        if accuracy >= goal:
            if not i:
                return float(labels[0])
            share = (goal - accuracies[i - 1]) / (accuracy - accuracies[i - 1])
            return float(labels[i - 1] * (labels[i] / labels[i - 1]) ** share)
    return None
