"""Metrics of a classifier: pure functions of logits and labels.

A scalar metric is one function `(logits, labels, weights=None)` registered in `METRIC`; `score`
reports all of them. `weights` says how often each example counts: None is once each, `[N]` gives
one value, and `[R, N]` gives R values at once, which is how a bootstrap resamples a metric quickly.
`@ideal` notes the value of a sure and right model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from tf_transfer.evaluation.classification import right
from tf_transfer.evaluation.finite import check_finite
from tf_transfer.registry import Registry

METRIC = Registry("metric")

NUM_BINS = 15


def ideal(value: float) -> Callable[[Callable], Callable]:
    """Decorator that notes, as the attribute `ideal`, the value of a metric for a model that is sure and right."""

    def note(metric: Callable) -> Callable:
        metric.ideal = value
        return metric

    return note


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns float64 `[..., C]` log-probabilities; exact however large the logits are."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns float64 `[..., C]` probabilities."""
    return np.exp(log_softmax(logits))


@METRIC.register("accuracy")
@ideal(1.0)
def accuracy(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the share of examples whose largest logit is the label's; the first wins a tie."""
    logits, labels = checked(logits, labels)
    return _mean(right(logits, labels), weights)


@METRIC.register("top5")
@ideal(1.0)
def top_5_accuracy(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the share of examples whose label is among the 5 largest logits."""
    return top_k_accuracy(logits, labels, 5, weights)


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the share of examples whose label is among the `k` largest logits.

    Among equal logits the lower class comes first, so that `k=1` is `accuracy`.
    """
    logits, labels = checked(logits, labels)
    own = np.take_along_axis(logits, labels[:, None], -1)
    before = np.arange(logits.shape[-1]) < labels[:, None]
    rank = np.sum(logits > own, -1) + np.sum((logits == own) & before, -1)
    return _mean(rank < k, weights)


@METRIC.register("macro_f1")
@ideal(1.0)
def macro_f1(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns F1 averaged over the classes that occur as a label or as a prediction, as scikit-learn does."""
    logits, labels = checked(logits, labels)
    predicted, num_classes = logits.argmax(-1), logits.shape[-1]
    hits = _sums_by_group(right(logits, labels), labels, num_classes, weights)
    ones = np.ones(len(labels))
    both = _sums_by_group(ones, labels, num_classes, weights) + _sums_by_group(ones, predicted, num_classes, weights)
    f1 = 2 * hits / np.where(both > 0, both, 1)
    return f1.sum(-1) / (both > 0).sum(-1)


@METRIC.register("balanced_accuracy")
@ideal(1.0)
def balanced_accuracy(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the recall averaged over the classes that occur as a label, as scikit-learn does.

    Naming one class always, or drawing classes by chance, gives 1 / C, however uneven the classes are.

    References:
        Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010.
    """
    logits, labels = checked(logits, labels)
    hits = _sums_by_group(right(logits, labels), labels, logits.shape[-1], weights)
    of_class = _sums_by_group(np.ones(len(labels)), labels, logits.shape[-1], weights)
    recall = hits / np.where(of_class > 0, of_class, 1)
    return recall.sum(-1) / (of_class > 0).sum(-1)


@METRIC.register("nll")
@ideal(0.0)
def nll(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the mean negative log-likelihood of the labels, in nats."""
    logits, labels = checked(logits, labels)
    return _mean(_losses(logits, labels), weights)


@METRIC.register("brier")
@ideal(0.0)
def brier(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the mean squared distance of the probabilities from the one-hot label, in [0, 2].

    The sum over all classes, as in Brier, "Verification of forecasts expressed in terms of
    probability", 1950; for two classes it is twice the one-probability form.
    """
    logits, labels = checked(logits, labels)
    distance = softmax(logits)
    distance[np.arange(len(labels)), labels] -= 1.0
    return _mean(np.sum(distance**2, -1), weights)


@METRIC.register("ece")
@ideal(0.0)
def ece(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, n_bins: int = NUM_BINS
) -> np.ndarray:
    """Returns the expected calibration error of the predicted class, in [0, 1].

    The predictions fall into `n_bins` equal-width bins `(low, high]` of confidence; the error is
    the difference of accuracy and mean confidence of a bin, averaged over the predictions.

    References:
        Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3.
    """
    logits, labels = checked(logits, labels)
    confidence, correct, bins = _binned(logits, labels, n_bins)
    gaps = _sums_by_group(correct - confidence, bins, n_bins, weights)
    return np.abs(gaps).sum(-1) / (len(labels) if weights is None else weights.sum(-1))


def reliability_bins(logits: np.ndarray, labels: np.ndarray, n_bins: int = NUM_BINS) -> dict[str, np.ndarray]:
    """Returns the bins behind `ece`.

    Returns:
        `edges` `[n_bins + 1]`, `count` `[n_bins]`, and the mean `confidence` and the `accuracy` of
        the predictions in each bin, `[n_bins]` in [0, 1], NaN where a bin is empty.
    """
    logits, labels = checked(logits, labels)
    confidence, correct, bins = _binned(logits, labels, n_bins)
    count = np.bincount(bins, minlength=n_bins)
    filled = np.where(count > 0, count, np.nan)
    return {
        "edges": np.linspace(0.0, 1.0, n_bins + 1),
        "count": count,
        "confidence": np.bincount(bins, confidence, n_bins) / filled,
        "accuracy": np.bincount(bins, correct, n_bins) / filled,
    }


def calibrated_ece(logits: np.ndarray, n_draws: int = 200, seed: int = 0, n_bins: int = NUM_BINS) -> np.ndarray:
    """Returns `[n_draws]` values of `ece` that a perfectly calibrated model would get by chance.

    The estimate is never negative, so even confidences that tell the exact truth score above 0 on
    a finite test set. Here each prediction is right with the probability it claims.
    """
    confidence = softmax(logits).max(-1)
    bins, rng = _bin_of(confidence, n_bins), np.random.default_rng(seed)
    draws = (np.bincount(bins, (rng.random(len(bins)) < confidence) - confidence, n_bins) for _ in range(n_draws))
    return np.array([np.abs(gaps).sum() / len(bins) for gaps in draws])


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns int64 `[C, C]` counts: row = true class, column = predicted class."""
    pairs = np.asarray(labels, np.int64) * num_classes + np.asarray(predicted, np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def precision_recall_f1(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns precision, recall and F1 of every class, each `[C]` in [0, 1]; 0 where undefined."""
    hits, labelled, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(labelled, 1)
    return precision, recall, 2 * hits / np.maximum(labelled + predicted, 1)


@dataclass(frozen=True)
class TopLoss:
    """An example that a model takes for another class.

    Attributes:
        index: row of the example.
        label: its class.
        predicted: the class the model takes it for.
        probability: what the model gives to the predicted class, in [0, 1].
        loss: negative log-likelihood of the label, in nats.
    """

    index: int
    label: int
    predicted: int
    probability: float
    loss: float


def top_losses(logits: np.ndarray, labels: np.ndarray, k: int) -> list[TopLoss]:
    """Returns the `k` mistakes with the largest loss, the worst first; fewer where the model makes fewer."""
    logits, labels = checked(logits, labels)
    losses, wrong = _losses(logits, labels), np.flatnonzero(~right(logits, labels))
    worst = wrong[np.argsort(-losses[wrong], kind="stable")[:k]]
    probabilities, predicted = softmax(logits[worst]).max(-1), logits[worst].argmax(-1)
    columns = (worst, labels[worst], predicted, probabilities, losses[worst])
    return [TopLoss(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two as arrays of the expected form.

    Raises:
        ValueError: logits are not `[N, C]` with N >= 1 or hold NaN, or labels are not N whole numbers in [0, C).
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"Expected logits [N, C] and labels [N], N >= 1; got {logits.shape} and {labels.shape}.")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= logits.shape[1]:
        got = f"{labels.dtype} from {labels.min()} to {labels.max()}"
        raise ValueError(f"Expected whole labels in [0, {logits.shape[1]}), got {got}.")
    check_finite(infinite=True, logits=logits)
    return logits, labels


def _losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.take_along_axis(log_softmax(logits), labels[:, None], -1)[:, 0]


def _bin_of(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    return np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)


def _binned(logits: np.ndarray, labels: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the confidence, correctness (0 or 1) and bin of every prediction, each `[N]`."""
    confidence = softmax(logits).max(-1)
    return confidence, right(logits, labels).astype(np.float64), _bin_of(confidence, n_bins)


def _mean(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return values.mean() if weights is None else weights @ values.astype(np.float64) / weights.sum(-1)


def _sums_by_group(values: np.ndarray, groups: np.ndarray, num_groups: int, weights: np.ndarray | None) -> np.ndarray:
    """Returns `[..., num_groups]` weighted sums of the values of each group."""
    if weights is None:
        return np.bincount(groups, values, num_groups)
    table = csr_array((values.astype(np.float64), (np.arange(len(values)), groups)), (len(values), num_groups))
    return weights @ table
