"""Accuracy under corruptions: means over corruptions and severities, alone and against a reference."""

import numpy as np


def mean_corrupted_accuracy(accuracy: np.ndarray) -> float:
    """Returns the mean of `[K, S]` accuracies over corruptions and severities, in [0, 1]."""
    return float(np.mean(accuracy))


def corruption_error(accuracy: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns `[K]`: errors of a model over all severities as a share of a reference's; 1 is as bad, less is better.

    The mean over the corruptions is the mCE, which the paper takes against AlexNet. NaN where the reference makes no
    error.

    Args:
        accuracy: `[K, S]` of the model.
        reference: `[K, S]` of a named reference model on the same examples.

    References:
        Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations",
        ICLR 2019, 4.1.
    """
    ours, theirs = (np.sum(1.0 - np.asarray(a, float), axis=-1) for a in (accuracy, reference))
    return np.where(theirs > 1e-9, ours / np.where(theirs > 1e-9, theirs, 1.0), np.nan)


def relative_corruption_error(
    accuracy: np.ndarray, clean: float, reference: np.ndarray, reference_clean: float
) -> np.ndarray:
    """Returns `[K]`: the accuracy lost by corruption as a share of what a reference loses (relative CE).

    It shows what `corruption_error` hides: a model that is better on clean examples may lose more. NaN where the
    reference loses nothing.

    Args:
        accuracy: `[K, S]` of the model.
        clean: its accuracy on the same examples without corruption.
        reference: `[K, S]` of the reference.
        reference_clean: its accuracy on them.
    """
    ours = np.sum(clean - np.asarray(accuracy, float), axis=-1)
    theirs = np.sum(reference_clean - np.asarray(reference, float), axis=-1)
    return np.where(theirs > 1e-9, ours / np.where(theirs > 1e-9, theirs, 1.0), np.nan)


def relative_robustness(accuracy: np.ndarray, clean: float) -> float:
    """Returns the share of the clean accuracy that is left under shift, at most about 1.

    Args:
        accuracy: accuracies under shift, of any shape.
        clean: accuracy on clean examples, in (0, 1].
    """
    return float(np.mean(accuracy) / clean) if clean else float("nan")
