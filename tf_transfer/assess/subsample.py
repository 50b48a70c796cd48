"""Subsamples for an assessment: all examples, or as many as its time allows, drawn at random."""

import dataclasses
import hashlib

import numpy as np

from tf_transfer.data import splits
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData

# Shares of the budget: for the features of the training examples, and for predictions on the measured sets.
_FEATURES, _PREDICTIONS = 0.25, 0.1
# A head is solved on about two views of each example; each measured example is predicted about 25 times.
_VIEWS, _TIMES = 2, 25
# Smallest number of examples, whatever the time.
_LEAST = 100


def affordable(data: TrainingData, seconds: float, budget: float, weighing: str, seed: int) -> TrainingData:
    """Returns the data, or the same share of each of its classes, so that its features take a quarter of the budget.

    Args:
        data: the examples that train and validate.
        seconds: seconds of one example in one view, summed over the candidates.
        budget: seconds of the assessment.
        weighing: weights of the classes, see `splits.class_weights`.
        seed: seed of the choice.
    """
    part = share(passes_of(data), seconds, budget)
    if part >= 1:
        return data
    rows = stratified(data.train.labels, max(part, _LEAST / len(data.train)), seed)
    train, validation = data.train.take(rows), data.validation
    if validation is not None:
        validation = validation.take(stratified(validation.labels, max(part, _LEAST / len(validation)), seed))
    weights, offsets = (
        of(train.labels, len(data.class_names), weighing) for of in (splits.class_weights, splits.class_offsets)
    )
    digest = hashlib.sha256(f"{data.facts['split_digest']}{rows.tolist()}".encode()).hexdigest()[:16]
    facts = {**data.facts, "split_digest": digest}
    return dataclasses.replace(
        data, train=train, validation=validation, class_weights=weights, class_offsets=offsets, facts=facts
    )


def share(passes: int, seconds: float, budget: float) -> float:
    """Returns the share of the data whose features take a quarter of the budget, 1 for all.

    Args:
        passes: of all data, see `passes`.
        seconds: of an example in one view, by all candidates together.
        budget: in seconds.
    """
    return min(1.0, _FEATURES * budget / (seconds * passes))


def passes(train: int, held: int) -> int:
    """Returns how many examples go through the frozen network for the features of all data.

    Args:
        train: examples that train.
        held: examples that validate.
    """
    return _VIEWS * train + held


def passes_of(data: TrainingData) -> int:
    """Returns the `passes` of the data."""
    return passes(len(data.train), 0 if data.validation is None else len(data.validation))


def predictions(seconds: float, budget: float, count: int) -> float:
    """Seconds of the predictions on a set of `count` examples, at most their share of the budget.

    Args:
        seconds: seconds of one example.
        budget: seconds of the assessment.
        count: number of examples.
    """
    return min(_PREDICTIONS * budget, _TIMES * seconds * count)


def measurable(split: Split, seconds: float, budget: float, seed: int) -> Split:
    """Returns a set to measure on, or as many of its examples as all models can predict in time.

    Args:
        split: the whole set.
        seconds: seconds of one example.
        budget: seconds of the assessment.
        seed: seed of the choice.
    """
    most = max(_LEAST, int(_PREDICTIONS * budget / (_TIMES * seconds)))
    if most >= len(split):
        return split
    return split.take(np.sort(np.random.default_rng(seed).permutation(len(split))[:most]))


def stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws the same share of every class, at least two of each that has two; returns the rows, ascending."""
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    return np.sort(np.concatenate([p[: max(2, round(min(1.0, share) * len(p)))] for p in parts]))
