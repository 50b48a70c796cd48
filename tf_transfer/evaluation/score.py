"""Everything measured on one set of predictions, as one JSON-able record."""

from collections.abc import Callable, Sequence

import numpy as np

from tf_transfer.errors import UserError
from tf_transfer.evaluation import metrics
from tf_transfer.evaluation.calibration import calibration_interval
from tf_transfer.evaluation.classification import right
from tf_transfer.evaluation.statistics import bootstrap_interval, mean_share_interval, wilson_interval

# Top-5 says little where guessing reaches it: it is reported above this many classes.
_TOP5_ABOVE = 10


def score(logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> dict:
    """Measures a classifier's predictions on labelled examples.

    Args:
        logits: `[N, C]` outputs before the softmax.
        labels: int `[N]` true classes in [0, C).
        class_names: C names, in label order.

    Returns:
        `n`, `num_classes`; every metric of `METRIC` as `{"value", "low", "high"}` with its 95 %
        interval (`accuracy` also `n`; `top5` only with more than 10 classes; `ece` also `floor`,
        what a perfectly calibrated model would score on average); `per_class`, a list of
        `{"name", "precision", "recall", "f1", "support"}`, where the three shares of a class
        without examples are None; `confusion`, counts by
        `[true][predicted]`; `reliability`, the lists of `metrics.reliability_bins` with None for
        an empty bin.

    Raises:
        UserError: the outputs are not finite.
        ValueError: arrays that do not fit each other.
    """
    # Before the other checks, which refuse NaN as the mistake of a caller.
    _refuse_diverged(np.asarray(logits))
    logits, labels = metrics.checked(logits, labels)
    n, num_classes = logits.shape
    if len(class_names) != num_classes:
        raise ValueError(f"class_names must name {num_classes} classes, got {len(class_names)}.")
    names = [name for name in metrics.METRIC.names() if name != "top5" or num_classes > _TOP5_ABOVE]
    result = {"n": n, "num_classes": num_classes}
    result |= {name: estimate(name, logits, labels) for name in names}
    result["accuracy"]["n"] = n
    confusion = metrics.confusion_matrix(labels, logits.argmax(-1), num_classes)
    bins = metrics.reliability_bins(logits, labels)
    return result | {
        "per_class": _per_class(confusion, class_names),
        "confusion": confusion.tolist(),
        "reliability": {key: [None if x != x else x for x in values.tolist()] for key, values in bins.items()},
    }


def _refuse_diverged(logits: np.ndarray) -> None:
    """Refuses outputs that are not finite, by rows."""
    broken = np.count_nonzero(~np.isfinite(logits).all(-1))
    if broken:
        raise UserError(
            f"The model's outputs are not finite for {broken} of {len(logits)} examples; lower --learning_rate."
        )


def estimate(name: str, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns a metric of `METRIC` as `{"value", "low", "high"}` with its 95 % interval."""
    metric = metrics.METRIC.factory(name)
    return {"value": float(metric(logits, labels))} | _INTERVALS.get(name, _bootstrap)(metric, logits, labels)


def _bootstrap(metric: Callable, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    low, high = bootstrap_interval(metric, logits, labels, weighted=True)
    return {"low": low, "high": high}


def _wilson(metric: Callable, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    low, high = wilson_interval(round(float(metric(logits, labels)) * len(labels)), len(labels))
    return {"low": low, "high": high}


def _of_classes(metric: Callable, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns the interval of a mean over classes; a bootstrap would give none to a class without a mistake."""
    hits, support = (
        np.bincount(chosen, minlength=logits.shape[1]) for chosen in (labels[right(logits, labels)], labels)
    )
    low, high = mean_share_interval(hits[support > 0], support[support > 0])
    return {"low": low, "high": high}


def _ece_interval(metric: Callable, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return calibration_interval(metric, logits, labels, weighted=True, chance=metrics.calibrated_ece(logits))


_INTERVALS = {"accuracy": _wilson, "top5": _wilson, "balanced_accuracy": _of_classes, "ece": _ece_interval}


def _per_class(confusion: np.ndarray, class_names: Sequence[str]) -> list[dict]:
    shares, support = np.stack(metrics.precision_recall_f1(confusion), 1).tolist(), confusion.sum(1).tolist()
    rows = []
    for name, of, n in zip(class_names, shares, support, strict=True):
        precision, recall, f1 = of if n else (None, None, None)
        rows.append({"name": str(name), "precision": precision, "recall": recall, "f1": f1, "support": n})
    return rows
