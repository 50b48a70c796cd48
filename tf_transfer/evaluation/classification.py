"""Which predictions of a classifier are right, and how training measures it."""

import numpy as np


def right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each prediction is right: its largest logit is the label's; of equal ones the first counts.

    Args:
        logits: float `[..., N, C]`, or other scores whose largest is the prediction.
        labels: int `[N]`.

    Returns:
        bool `[..., N]`.
    """
    return logits.argmax(-1) == labels


def by_example(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns `right`, bool `[N]`, and `loss`, the cross-entropy of each example, of float `[N, C]` logits."""
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return {"right": right(logits, labels), "loss": log_sum - logits[np.arange(len(labels)), labels]}


def measure(logits: np.ndarray, labels: np.ndarray) -> dict:
    """Returns mean cross-entropy, accuracy and number of examples of float `[N, C]` logits."""
    found = by_example(logits, labels)
    return {"loss": float(found["loss"].mean()), "accuracy": float(found["right"].mean()), "examples": len(labels)}


def standard_error(accuracy: float, examples: int) -> float:
    """Standard error of an accuracy (Agresti-Coull, never zero)."""
    size = examples + 4
    proportion = (accuracy * examples + 2) / size
    return float(np.sqrt(proportion * (1 - proportion) / size))
