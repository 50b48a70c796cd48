"""What a classification is measured by while it trains."""

import numpy as np


def measure(logits: np.ndarray, labels: np.ndarray) -> dict:
    """Returns mean cross-entropy, accuracy and number of examples of float `[N, C]` logits."""
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    losses = log_sum - logits[np.arange(len(labels)), labels]
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    return {"loss": float(losses.mean()), "accuracy": accuracy, "examples": len(labels)}


def standard_error(accuracy: float, examples: int) -> float:
    """Returns that of an accuracy, by Agresti and Coull's adjusted proportion: not zero where all are right."""
    size = examples + 4
    proportion = (accuracy * examples + 2) / size
    return float(np.sqrt(proportion * (1 - proportion) / size))
