"""Decodes lists of files in parallel: their sides first, then their contents into one array."""

import math
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tf_transfer.data.disk_arrays import release, temporary
from tf_transfer.data.examples import Examples, Stored


def measure_files(paths: Sequence[str], modality: Examples) -> tuple[np.ndarray, dict[int, str], dict[int, str]]:
    """Reads the sides of examples without decoding them.

    Returns:
        int64 `[N, R]` sides, 0 where unreadable; the reason for each unreadable one, by its row; and the remarks on
        others, see `examples.Sides`.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # Pillow warns about large files and odd metadata.
        answers = list(pool.map(modality.measure, paths))
    reasons = {i: answer for i, answer in enumerate(answers) if isinstance(answer, str)}
    remarks = {i: answer.remark for i, answer in enumerate(answers) if getattr(answer, "remark", "")}
    unknown = (0,) * max((len(answer) for answer in answers if not isinstance(answer, str)), default=1)
    sides = np.array([unknown if isinstance(answer, str) else answer for answer in answers], np.int64)
    return sides.reshape(-1, len(unknown)), reasons, remarks


def decode_files(paths: Sequence[str], form: Stored, modality: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Decodes files into one array.

    Args:
        paths: the files.
        form: stored form of the examples; where it is native, an example of another shape counts as unreadable.
        modality: decodes examples and brings them to the form.

    Returns:
        `[N, *form.shape]`, and bool `[N]`, False where a file could not be decoded; its row is undefined.
    """
    import tensorflow as tf

    def read(row, path):
        return row, modality.fit(modality.decode(modality.read(path)), form)

    inputs = temporary((len(paths), *form.shape), form.dtype)
    good = np.zeros(len(paths), bool)
    files = tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in paths]).enumerate()
    # tf.data is 5 to 10 times as fast as eager calls. A file that fails is missing from its results.
    decoded = files.map(read, tf.data.AUTOTUNE).ignore_errors().batch(batch_size(form)).prefetch(2)
    for rows, batch in decoded.as_numpy_iterator():
        inputs[rows], good[rows] = batch, True
        release(inputs)
    return inputs, good


def batch_size(form: Stored) -> int:
    """Returns the number of examples of this form in about 16 MB, at most 1,024."""
    return min(1024, max(1, (16 << 20) // (math.prod(form.shape) * np.dtype(form.dtype).itemsize)))


def compact(inputs: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Moves the good rows to the front, in place, since a copy may not fit in memory."""
    rows = np.flatnonzero(good)
    if len(rows) < len(inputs):
        for to, row in enumerate(rows):
            inputs[to] = inputs[row]
        release(inputs)
    return inputs[: len(rows)]


def printable(name: str) -> str:
    r"""Returns a name with line breaks, escapes and undecodable bytes spelt out, e.g. `caf\udce9`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
