"""The training side of a data set: train and validation splits, class weights, and what is worth recording."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_transfer.data import splits
from tf_transfer.errors import one_line


@dataclass(frozen=True)
class TrainingData:
    """What a phase trains and validates on.

    Attributes:
        train, validation: splits; validation is None where the budget leaves nothing to hold out.
        class_names: the classes.
        class_weights: float32 `[C]`.
        facts: for the record: data set, sizes, the digest of the split, and `notes`, texts by kind.
        digests: `{digest of an example: (split, name)}`, to find it again in the test split.
    """

    train: splits.Split
    validation: splits.Split | None
    class_names: tuple[str, ...]
    class_weights: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[bytes, tuple[str, str]] = field(default_factory=dict)


def plan_training(
    source: splits.Source,
    validation_fraction: float,
    seed: int,
    per_class: int | None,
    split: Callable[..., splits.SplitPlan] = splits.plan_splits,
) -> splits.SplitPlan:
    """Plans what trains and what validates.

    A validation split that the data set brings is used, but not under a label budget: that counts every label
    that is looked at, so that validation is carved out of it.

    Args:
        source: the data set.
        validation_fraction: see `splits.plan_splits`.
        seed: the same.
        per_class: the same.
        split: the problem's way to split, which takes the arguments of `splits.plan_splits`.
    """
    own = "validation" in source.splits and per_class is None
    names = source.class_names
    return split(source.labels("train"), len(names), validation_fraction, seed, per_class, own, names)


def load_training(
    source: splits.Source, name: str, plan: splits.SplitPlan, class_weights: str, size: int
) -> TrainingData:
    """Decodes the examples of a plan.

    Args:
        source: the data set.
        name: as the user wrote it.
        plan: of `plan_training`.
        class_weights: `none` or `balanced`, see `splits.class_weights`.
        size: input size of the network.
    """
    train = source.load("train", plan.train, size)
    split, rows = validating(source, plan)
    validation = source.load(split, rows, size) if len(rows) else None
    parts = {"train": train} | ({"validation": validation} if validation is not None else {})
    seen: dict[bytes, tuple[str, str]] = {}
    duplicates = splits.find_duplicates(parts, seen)
    notes = {**source.notes} | ({"duplicates": duplicates} if duplicates else {})
    facts = {
        "dataset": one_line(name),
        "class_names": list(source.class_names),
        "splits": {part: len(split) for part, split in parts.items()},
        "split_digest": plan.facts["digest"],
        "stored_size": list(train.inputs.shape[1:3]),
        "notes": {kind: [one_line(text) for text in texts] for kind, texts in notes.items()},
    }
    weights = splits.class_weights(train.labels, len(source.class_names), class_weights)
    return TrainingData(train, validation, tuple(source.class_names), weights, facts, seen)


def load_sample(source: splits.Source, plan: splits.SplitPlan, count: int, size: int) -> tuple[str, splits.Split]:
    """Decodes `count` of the validation examples, or of the training examples where none validate, evenly spaced.

    The first ones of a folder would all be of one class.

    Returns:
        `validation` or `train`, what they are used for, and the examples.
    """
    split, rows = validating(source, plan)
    use, split, rows = ("validation", split, rows) if len(rows) else ("train", "train", plan.train)
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return use, source.load(split, rows[places], size)


def validating(source: splits.Source, plan: splits.SplitPlan) -> tuple[str, np.ndarray]:
    """Returns which split of the source validates, and which examples of it."""
    if plan.validation is None:
        return "validation", np.arange(len(source.labels("validation")))
    return "train", plan.validation
