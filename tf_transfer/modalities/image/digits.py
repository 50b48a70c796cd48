"""Handwritten digits, the data set that comes with scikit-learn."""

import numpy as np

from tf_transfer.data.array_source import ArraySource
from tf_transfer.modalities import base


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
    return ArraySource("digits", images, digits.target, tuple("0123456789"), test_fraction, base.find("image"))
