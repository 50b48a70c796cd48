"""The label feature of a TFDS data set: a ClassLabel, whole numbers or texts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_transfer.errors import UserError, one_line

LABELS = "ClassLabel, Text or whole-number"
"""Kinds of features that hold a label, in words."""


def is_label(feature: Any) -> bool:
    """Says whether a TFDS feature can hold a label of its example."""
    plain = type(feature).__name__ in ("Tensor", "Scalar") and feature.shape == ()
    return type(feature).__name__ in ("ClassLabel", "Text") or (plain and np.dtype(feature.np_dtype).kind in "iub")


def candidates(features: Mapping[str, Any], asked: str | None = None) -> list[str]:
    """Returns the features that may be the label: the one asked for; those of ClassLabel; else all others that can."""
    if asked:
        return [name for name, feature in features.items() if name == asked and is_label(feature)]
    named = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    return named or [name for name, feature in features.items() if is_label(feature)]


def is_text(feature: Any) -> bool:
    """Says whether the records hold a label of this feature as text."""
    return type(feature).__name__ == "Text"


def are_there(values: np.ndarray, feature: Any) -> bool:
    """Says whether these raw values are labels: some test splits are published with -1 or empty texts."""
    if type(feature).__name__ == "ClassLabel":
        return bool((values >= 0).all())
    return not np.isin(values, [b""] if is_text(feature) else [-1]).all()


def classes(values: np.ndarray, what: str, name: str) -> np.ndarray:
    """Returns the distinct raw values of the training labels, in order: the classes where no feature names them.

    Args:
        values: raw labels of the training split.
        what: name of the data set in errors.
        name: of the feature.

    Raises:
        UserError: the values hardly ever repeat, as those of an identifier.
    """
    distinct = np.unique(values)
    if 2 * len(distinct) > len(values):
        raise UserError(
            f"{what}: label={name} has {len(distinct):,} different values in {len(values):,} examples; expected the "
            "few of a class. Choose another feature with label=."
        )
    return distinct


def names(distinct: np.ndarray) -> tuple[str, ...]:
    """Returns the class names of distinct raw values: texts as they are, whole numbers in digits."""
    return tuple(one_line(v.decode("utf-8", "replace") if isinstance(v, bytes) else int(v)) for v in distinct)


def indices(values: np.ndarray, distinct: np.ndarray, what: str, origin: str) -> np.ndarray:
    """Returns the int32 index of each raw value among the classes.

    Raises:
        UserError: a value is no class of the training split.
    """
    places = np.minimum(np.searchsorted(distinct, values), len(distinct) - 1)
    if (strange := values[distinct[places] != values]).size:
        raise UserError(
            f"{what}: the class {names(strange[:1])[0]!r} of the split {origin} has no training example; choose other "
            "splits with split=."
        )
    return places.astype(np.int32)
