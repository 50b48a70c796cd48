"""Kinds of problems: the loss, what is right, the score, and how to split. Classification is the first.

A problem is what the labels are. Another loss on the same labels, such as focal, is no problem but a method, chosen by
`--method`: a class below `methods.supervised.Supervised` whose setting has a problem with that loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tf_transfer.data import splits
from tf_transfer.evaluation.classification import by_example, measure, right, standard_error


@dataclass(frozen=True)
class Problem:
    """One kind of problem.

    Attributes:
        name: in records.
        targets: `(labels, classes, smoothing)` to the targets of the loss.
        loss: `(logits, targets)` to float32 `[B]`.
        hits: `(logits, labels)` to float32 `[B]`, in a graph: 1 where an example is right.
        right: `(logits, labels)` to bool `[N]`, on arrays.
        score: `(logits, labels)` to the fields of a `method.Score`, on arrays: value, its standard error, loss,
            measures, and the results of each example.
        split: plans what trains and what validates, see `splits.plan_splits`.
    """

    name: str
    targets: Callable[[tf.Tensor, int, float], tf.Tensor]
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    hits: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    right: Callable[[np.ndarray, np.ndarray], np.ndarray]
    score: Callable[[np.ndarray, np.ndarray], tuple[float, float, float, dict[str, Any], dict[str, np.ndarray]]]
    split: Callable[..., splits.SplitPlan]


def one_hot(labels: tf.Tensor, num_classes: int, smoothing: float = 0.0) -> tf.Tensor:
    """Returns float32 `[B, C]` targets: 1 - smoothing on the label plus smoothing / C on every class."""
    return tf.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / num_classes


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Computes -sum_c t_c log softmax(z)_c of float32 `[B, C]` logits and targets, `[B]`."""
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def hits(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Says in a graph which of `[B, C]` logits name their label: float32 `[B]`, 1 or 0."""
    return tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), tf.float32)


def accuracy_score(
    logits: np.ndarray, labels: np.ndarray
) -> tuple[float, float, float, dict[str, Any], dict[str, np.ndarray]]:
    """Scores `[N, C]` logits by their accuracy; returns the fields of a `method.Score`."""
    found, error = measure(logits, labels), standard_error
    each = by_example(logits, labels)
    return found["accuracy"], error(found["accuracy"], found["examples"]), found["loss"], found, each


CLASSIFICATION = Problem("classification", one_hot, cross_entropy, hits, right, accuracy_score, splits.plan_splits)
