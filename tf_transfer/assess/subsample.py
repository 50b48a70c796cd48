"""How many pictures an assessment looks at: all, or as many as its time allows, drawn at random."""

import dataclasses
import hashlib

import numpy as np

from tf_transfer.data import splits
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData

# Shares of the budget for the features of all training pictures, and for predictions on those that are measured on.
_FEATURES, _PREDICTIONS = 0.25, 0.1
# Views of a picture whose features a head wants, and times that a measured picture is predicted, roughly.
_VIEWS, _TIMES = 2, 25
# Fewer than these tell nothing, whatever the time.
_LEAST = 100


def affordable(data: TrainingData, seconds: float, budget: float, weighing: str, seed: int) -> TrainingData:
    """Returns the data, or the same share of every class of it, so that its features take a quarter of the budget.

    Args:
        data: what would train and validate.
        seconds: of a picture in one view, by all candidates together.
        budget: in seconds.
        weighing: of the classes, see `splits.class_weights`.
        seed: of the choice.
    """
    part = share(data, seconds, budget)
    if part >= 1:
        return data
    rows = stratified(data.train.labels, max(part, _LEAST / len(data.train)), seed)
    train, validation = data.train.take(rows), data.validation
    if validation is not None:
        validation = validation.take(stratified(validation.labels, max(part, _LEAST / len(validation)), seed))
    weights = splits.class_weights(train.labels, len(data.class_names), weighing)
    digest = hashlib.sha256(f"{data.facts['split_digest']}{rows.tolist()}".encode()).hexdigest()[:16]
    return dataclasses.replace(
        data, train=train, validation=validation, class_weights=weights, facts={**data.facts, "split_digest": digest}
    )


def share(data: TrainingData, seconds: float, budget: float) -> float:
    """Returns the share of the data whose features take a quarter of the budget, 1 for all; see `affordable`."""
    return min(1.0, _FEATURES * budget / (seconds * passes(data)))


def passes(data: TrainingData) -> int:
    """Returns the pictures that go through the frozen network for the features of all data."""
    return _VIEWS * len(data.train) + (0 if data.validation is None else len(data.validation))


def predictions(seconds: float, budget: float, count: int) -> float:
    """Returns what predictions on so many pictures take, or the share of the budget that is given to them.

    Args:
        seconds: of a picture.
        budget: in seconds.
        count: of pictures.
    """
    return min(_PREDICTIONS * budget, _TIMES * seconds * count)


def measurable(split: Split, seconds: float, budget: float, seed: int) -> Split:
    """Returns a set to measure on, or as many pictures of it as can be predicted by all models in time.

    Args:
        split: all of it.
        seconds: of a picture.
        budget: in seconds.
        seed: of the choice.
    """
    most = max(_LEAST, int(_PREDICTIONS * budget / (_TIMES * seconds)))
    if most >= len(split):
        return split
    return split.take(np.sort(np.random.default_rng(seed).permutation(len(split))[:most]))


def stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Returns rows of the same share of every class, ascending; of each two at the least, where it has two."""
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    return np.sort(np.concatenate([p[: max(2, round(min(1.0, share) * len(p)))] for p in parts]))
