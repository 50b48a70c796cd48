"""Data sets in memory, given by their arrays."""

import numpy as np

from tf_transfer.data.examples import Examples
from tf_transfer.data.splits import Split, carve_test


class ArraySource:
    """A data set given by its arrays; see `splits.Source`."""

    def __init__(
        self,
        name: str,
        inputs: np.ndarray,
        labels: np.ndarray,
        class_names: tuple[str, ...],
        test_fraction: float,
        modality: Examples,
    ):
        """Makes a data set of arrays, with a stratified test split.

        Args:
            name: prefix of the examples' names.
            inputs: stored examples `[N, ...]`, such as uint8 `[N, H, W, 3]`.
            labels: int `[N]`.
            class_names: the classes, in label order.
            test_fraction: share of every class in the test split.
            modality: of the examples.
        """
        train, test = carve_test(labels, len(class_names), test_fraction)
        self.class_names, self.modality = class_names, modality.name
        self.splits = ("train", "test")
        self.notes: dict[str, list[str]] = {}
        self._modality = modality
        self._parts = {
            split: Split(inputs[rows], labels[rows].astype(np.int32), [f"{name}/{split}#{i}" for i in range(len(rows))])
            for split, rows in (("train", train), ("test", test))
        }

    def again(self) -> "ArraySource":
        """Returns the data set as it was opened."""
        return self

    def labels(self, split: str) -> np.ndarray:
        """Returns the int32 `[N]` labels of a split."""
        return self._parts[split].labels

    def load(self, split: str, indices: np.ndarray | None = None, size: int | None = None) -> Split:
        """Returns a split, or the examples of it at `indices`; resized only where larger than `size`."""
        part = self._parts[split] if indices is None else self._parts[split].take(np.asarray(indices))
        if self._modality.stored(np.array([part.inputs.shape[1:3]]), size).native:
            return part
        return Split(self._modality.resized(part.inputs, size), part.labels, part.names)
