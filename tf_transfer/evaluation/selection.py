"""Which of several models to take, by their results on the same validation examples: the one-standard-error rule."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# Validation examples from which on a difference of a few points can be clear.
FEW = 50


class Lead(NamedTuple):
    """How much better one model validates than another.

    Attributes:
        value: its accuracy less the other's, in [-1, 1].
        standard_error: of that difference.
        n: number of validation examples.
    """

    value: float
    standard_error: float
    n: int

    @property
    def clear(self) -> bool:
        """Whether it is better by more than a standard error."""
        return self.value > self.standard_error


def lead(right: np.ndarray, other: np.ndarray) -> Lead:
    """Returns the lead of a model over another one on the same examples.

    The standard error is that of the paired difference, as an unlucky draw of examples takes from both models alike.
    The error of one accuracy is too large where they agree on most examples, and too small where they differ on many.
    One example that only either gets right is added for the error, as Bonett and Price do: without them models that
    agree on all of twenty examples would differ by 0 with certainty.

    Args:
        right: `[N]`, whether the model is right on each example, or the share of its seeds that are; N >= 1.
        other: `[N]`, the same of the other one.

    References:
        Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
        data", Journal of Educational and Behavioral Statistics 2012.
    """
    difference = np.asarray(right, float) - np.asarray(other, float)
    added = np.append(difference, (1.0, -1.0))
    return Lead(float(difference.mean()), float(added.std() / np.sqrt(len(added))), len(difference))


def chosen(right: Mapping[str, np.ndarray]) -> str:
    """Returns the model to take: the simplest one that the most accurate one does not clearly lead.

    On fewer than `FEW` examples no lead of a few points is clear, and this would be the simplest one whatever the
    others are worth: there the last one is taken, unless the most accurate one clearly leads it.

    Args:
        right: `[N]` by model, as of `lead`, on the validation examples; the simplest model first.

    References:
        Breiman et al., "Classification and regression trees", 1984, 3.4.3.
    """
    best = max(right, key=lambda name: np.mean(right[name]))
    names = list(right)
    if len(right[best]) < FEW and not lead(right[best], right[names[-1]]).clear:
        return names[-1]
    return next(name for name in names if name == best or not lead(right[best], right[name]).clear)
