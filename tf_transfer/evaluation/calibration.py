"""How far a model's probabilities can be trusted: temperature, calibration error, accuracy without labels."""

import itertools
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar

from tf_transfer.evaluation.classification import right
from tf_transfer.evaluation.finite import check_finite
from tf_transfer.evaluation.metrics import NUM_BINS, checked, log_softmax, softmax
from tf_transfer.evaluation.statistics import bootstrap_interval

# The least and the largest temperature.
LIMITS = (0.05, 20.0)
# Entries of logits that are looked at together, in float64: 16 MB.
_ENTRIES = 1 << 21
# About as many times `temperature` computes the loss.
_STEPS = 20
# Points of the grid of `temperature_interval`, which reaches this many standard errors to both sides.
_GRID, _WIDTH = 13, 6.0


def temperature(
    logits: np.ndarray, labels: np.ndarray, progress: Callable[[int, int, str], None] | None = None
) -> float:
    """Returns the temperature T in [0.05, 20] that makes the labels likeliest when the logits are divided by it.

    It is fitted on validation examples and changes no prediction; it is above 1 for an overconfident model.

    Args:
        logits: float `[N, C]`.
        labels: int `[N]`.
        progress: called with how often the loss was computed, of about how many times, and a text.

    References:
        Guo et al., "On calibration of modern neural networks", ICML 2017, 4.2.
    """
    logits, labels = checked(logits, labels)
    rows, calls = np.arange(len(labels)), itertools.count(1)

    def loss(log_t):
        if progress:
            # The bar does not end before the search does.
            progress(min(next(calls), _STEPS - 1), _STEPS, "temperature")
        return -log_softmax(logits / np.exp(log_t))[rows, labels].mean()

    # The likelihood is unimodal in T: it is concave in 1 / T.
    found = minimize_scalar(loss, bounds=np.log(LIMITS), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def limit_of(value: float) -> float | None:
    """Returns the limit at which a temperature ended; None where it ended between them."""
    return next((limit for limit in LIMITS if abs(np.log(value / limit)) < 1e-3), None)


def temperature_interval(
    logits: np.ndarray,
    labels: np.ndarray,
    value: float,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[float, float]:
    """Returns the 95 % bootstrap interval of a temperature, in time that does not depend on the number of resamples.

    A resample's temperature is where the sum of its examples' slopes dNLL / dlog T is 0. The slopes are computed once,
    on a grid around the estimate; between the points of the grid the sum is a line.

    Args:
        logits: float `[N, C]`.
        labels: int `[N]`.
        value: of `temperature`.
        progress: called with the points of the grid that are done, their number, and a text.
    """
    logits, labels = checked(logits, labels)
    middle, step = np.log(value), 0.05
    below, at, above = (_slopes(logits, labels, middle + d) for d in (-step, 0.0, step))
    curvature = (above.sum() - below.sum()) / (2 * step)
    # Where the likelihood is flat, as at a limit, the grid covers all temperatures.
    width = _WIDTH * np.sqrt(np.square(at).sum()) / curvature if curvature > 0 else np.inf
    grid = np.linspace(*np.clip([middle - width, middle + width], *np.log(LIMITS)), _GRID)
    table = []
    for done, log_t in enumerate(grid, 1):
        table.append(_slopes(logits, labels, log_t))
        if progress:
            progress(done, _GRID, "interval of the temperature")

    def roots(slopes, weights):
        return _crossing(grid, weights @ slopes)

    low, high = bootstrap_interval(roots, np.stack(table, 1), n_resamples=200, weighted=True)
    return float(np.exp(low)), float(np.exp(high))


def _slopes(logits: np.ndarray, labels: np.ndarray, log_t: float) -> np.ndarray:
    """Returns dNLL / dlog T of each example, `[N]`: (z_label - sum_c p_c z_c) / T."""
    found, rows = np.empty(len(labels)), max(1, _ENTRIES // logits.shape[1])
    for start in range(0, len(labels), rows):
        z = logits[start : start + rows] / np.exp(log_t)
        own = np.take_along_axis(z, labels[start : start + rows, None], 1)[:, 0]
        # A class that is ruled out has probability 0 and adds nothing.
        found[start : start + rows] = own - np.einsum("nc,nc->n", softmax(z), np.where(np.isinf(z), 0.0, z))
    return found


def _crossing(grid: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Returns `[R]` places at which `[R, K]` sums, negative and then positive, are 0; an end of the grid elsewhere."""
    after = np.clip((sums < 0).sum(1), 1, len(grid) - 1)
    first, second = (np.take_along_axis(sums, k[:, None], 1)[:, 0] for k in (after - 1, after))
    share = np.divide(-first, second - first, out=np.zeros_like(first), where=second > first)
    return grid[after - 1] + np.clip(share, 0.0, 1.0) * np.diff(grid)[after - 1]


def adaptive_ece(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, n_bins: int = NUM_BINS
) -> float:
    """Returns the calibration error over bins of equally many predictions, in [0, 1].

    As `ece`, but no bin is nearly empty: most predictions of a good model fall into the last bin of equal width.

    References:
        Nguyen and O'Connor, EMNLP 2015; Nixon et al., "Measuring calibration in deep learning", 2019.
    """
    logits, labels = checked(logits, labels)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    probabilities = softmax(logits)
    confidence, correct = probabilities.max(-1), right(probabilities, labels)
    order = np.argsort(confidence, kind="stable")
    # Each bin holds the same weight; one that stands on an edge counts for the bin of its middle.
    middle = np.cumsum(weights[order]) - weights[order] / 2
    bins = np.minimum((middle / weights.sum() * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, weights[order] * (correct - confidence)[order], n_bins)
    return float(np.abs(gaps).sum() / weights.sum())


def calibration_interval(
    metric: Callable[..., float],
    logits: np.ndarray,
    labels: np.ndarray,
    draws: int = 200,
    weighted: bool = False,
    chance: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns a calibration error with its interval, and the `floor` that perfect calibration would show by chance.

    The estimate is biased upwards, and a resample adds the same bias again: the bootstrap's distribution is mirrored at
    the estimate. Where perfect calibration would explain the value as well, the interval reaches down to 0.

    Args:
        metric: `ece` or `adaptive_ece`.
        logits: float `[N, C]`.
        labels: int `[N]`.
        draws: resamples, and draws of labels from the model's own probabilities.
        weighted: the metric takes counts, see `bootstrap_interval`, whose own number of resamples is then taken.
        chance: values of the metric under perfect calibration; drawn where None.

    References:
        Davison and Hinkley, "Bootstrap methods and their application", 1997, section 2.4: basic limits.
    """
    value, rng = float(metric(logits, labels)), np.random.default_rng(0)
    how = {"weighted": True} if weighted else {"n_resamples": draws}
    low, high = bootstrap_interval(metric, logits, labels, **how)
    if chance is None:
        top, predicted = softmax(logits).max(-1), logits.argmax(-1)
        other = (predicted + 1) % logits.shape[1]
        chance = [metric(logits, np.where(rng.random(len(top)) < top, predicted, other)) for _ in range(draws)]
    low, high = max(0.0, 2 * value - high), max(value, 2 * value - low)
    low = 0.0 if value <= np.quantile(chance, 0.975) else min(low, value)
    return {"value": value, "low": low, "high": high, "floor": float(np.mean(chance))}


def atc(validation_logits: np.ndarray, validation_labels: np.ndarray, logits: np.ndarray) -> float:
    """Returns the accuracy to expect on unlabelled examples, by average thresholded confidence, in [0, 1].

    Above a threshold of the negative entropy lie as many validation examples as are right; the estimate is the share of
    the other examples above it.

    Args:
        validation_logits: float `[N, C]`.
        validation_labels: int `[N]`.
        logits: float `[M, C]` of the unlabelled examples.

    References:
        Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022.
    """
    validation_logits, labels = checked(validation_logits, validation_labels)
    wrong = int(np.sum(~right(validation_logits, labels)))
    known, scores = np.sort(_certainty(validation_logits)), _certainty(np.asarray(logits, np.float64))
    threshold = known[wrong] if wrong < len(known) else np.inf
    return float(np.mean(scores >= threshold))


def atc_interval(
    validation_logits: np.ndarray, validation_labels: np.ndarray, logits: np.ndarray, seed: int = 0, draws: int = 100
) -> tuple[float, float]:
    """Returns the 95 % interval of `atc`, by resampling the validation examples and the unlabelled ones.

    It covers how the estimate varies, not whether confidence keeps its meaning under shift.

    Args:
        validation_logits: float `[N, C]`.
        validation_labels: int `[N]`.
        logits: float `[M, C]`.
        seed: of the resamples.
        draws: resamples.
    """
    validation_logits, labels = checked(validation_logits, validation_labels)
    wrong, known = ~right(validation_logits, labels), _certainty(validation_logits)
    scores, rng, found = _certainty(np.asarray(logits, np.float64)), np.random.default_rng(seed), []
    for _ in range(draws):
        rows, others = (rng.integers(0, len(x), len(x)) for x in (known, scores))
        cut = int(wrong[rows].sum())
        threshold = np.sort(known[rows])[cut] if cut < len(rows) else np.inf
        found.append(np.mean(scores[others] >= threshold))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _certainty(logits: np.ndarray) -> np.ndarray:
    check_finite(infinite=True, logits=logits)
    log_p = log_softmax(logits)
    return (np.exp(log_p) * log_p).sum(-1)
