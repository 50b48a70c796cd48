"""Data sets that fit in memory, first of all the handwritten digits that scikit-learn brings."""

import numpy as np

from tf_transfer.data.splits import Split, carve_test


class ArraySource:
    """A data set given by its arrays; see `splits.Source`."""

    def __init__(
        self, name: str, images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], test_fraction: float
    ):
        """Carves the test split.

        Args:
            name: what the examples' names start with.
            images: uint8 `[N, H, W, 3]`.
            labels: int `[N]`.
            class_names: the classes, in label order.
            test_fraction: share of every class that tests.
        """
        train, test = carve_test(labels, len(class_names), test_fraction)
        self.class_names = class_names
        self.splits = ("train", "test")
        self.notes: dict[str, list[str]] = {}
        self._parts = {
            split: Split(images[rows], labels[rows].astype(np.int32), [f"{name}/{split}#{i}" for i in range(len(rows))])
            for split, rows in (("train", train), ("test", test))
        }

    def labels(self, split: str) -> np.ndarray:
        """Returns the int32 `[N]` labels of a split."""
        return self._parts[split].labels

    def load(self, split: str, indices: np.ndarray | None = None, size: int | None = None) -> Split:
        """Returns a split, or the examples of it at `indices`; resized only where larger than `size`."""
        part = self._parts[split] if indices is None else self._parts[split].take(np.asarray(indices))
        if size is None or max(part.inputs.shape[1:3]) <= size:
            return part
        from tf_transfer.modalities.image import pixels

        return Split(pixels.resize(part.inputs, size).numpy().astype(np.uint8), part.labels, part.names)


def open_digits(test_fraction: float = 0.4436) -> ArraySource:
    """Opens 1,797 real handwritten digits, 8x8 grey levels: 1,000 to train on and 797 to test on.

    The test set of E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998, as `sklearn.datasets.load_digits` holds it: each pixel counts the ink
    in a 4x4 block of a 32x32 bitmap, 0 to 16, which is scaled to 0 to 255 here.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=-1)
    return ArraySource("digits", images, digits.target, tuple("0123456789"), test_fraction)
