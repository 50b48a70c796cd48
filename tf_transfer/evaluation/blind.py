"""The control without a model: always naming the class that training shows most often."""

import numpy as np

from tf_transfer.evaluation.statistics import wilson_interval


def blind_guess(counts: np.ndarray, labels: np.ndarray) -> dict:
    """Measures the answer that names the most frequent class of training for every example.

    Of classes that are equally frequent in training, as under a budget of labels, it is the one that `labels` has most
    often: the strongest control.

    Args:
        counts: int `[C]`, training examples of each class.
        labels: int `[N]` of the examples to measure on, N >= 1.

    Returns:
        `label`, the class it names, and its `metrics`: `accuracy` with Wilson's interval and `n`, `balanced_accuracy`
        and `macro_f1`, each with a `value`.
    """
    counts = np.asarray(counts)
    there = np.bincount(labels, minlength=len(counts))
    label = max(np.flatnonzero(counts == counts.max()), key=lambda c: there[c])
    n, hits = len(labels), int(there[label])
    low, high = wilson_interval(hits, n)
    present = np.count_nonzero(there)
    # The classes that occur as a label or as the answer.
    named = present if hits else present + 1
    return {
        "label": int(label),
        "metrics": {
            "accuracy": {"value": hits / n, "low": low, "high": high, "n": n},
            "balanced_accuracy": {"value": (hits > 0) / present},
            "macro_f1": {"value": 2 * hits / (n + hits) / named},
        },
    }
