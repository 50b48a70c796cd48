"""The part of a modality that data sources use: how files are measured, decoded and stored."""

import os
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

HEAD = 32
"""How many bytes at the start of a file say what it holds."""


class Stored(NamedTuple):
    """The form in which the examples of a split are kept in one array.

    Attributes:
        shape: of one example.
        native: whether the examples have this shape already; otherwise they are brought to it.
        dtype: type of the numbers.
    """

    shape: tuple[int, ...]
    native: bool
    dtype: type = np.uint8


class Examples(Protocol):
    """The part of `modalities.base.Modality` that data sources use.

    Attributes:
        name: of the modality, such as `image`.
        one, many: the words for an example and for several.
        endings: of the files that hold an example, in lower case.
        dtype: of stored examples.
        tfds_feature: class of `tensorflow_datasets.features` that holds an example; None where TFDS has none.
    """

    name: str
    one: str
    many: str
    endings: tuple[str, ...]
    dtype: type
    tfds_feature: str | None

    def measure(self, file: str | BinaryIO) -> tuple[int, ...] | str:
        """Returns the sides of the example in a file, read from its start, or why it cannot be read."""

    def recognises(self, head: bytes) -> bool:
        """Says whether a file that starts with these `HEAD` bytes holds an example, whatever its name."""

    def stored(self, sides: np.ndarray, size: int | None) -> Stored:
        """Decides the form in which examples of these `[N, R]` sides are kept for an input size."""

    def decode(self, content: Any) -> Any:
        """Decodes one file, a scalar string tensor; fails on a damaged one."""

    def fit(self, example: Any, form: Stored) -> Any:
        """Brings a decoded example to its stored form."""

    def resized(self, inputs: np.ndarray, size: int) -> np.ndarray:
        """Brings stored examples `[N, ...]` to another size."""


class Kind(Protocol):
    """What tells the files of examples from others: a modality, or the words of an exported model."""

    endings: Sequence[str]

    def recognises(self, head: bytes) -> bool:
        """See `Examples.recognises`."""


def is_example(path: str, kind: Kind) -> bool:
    """Says whether a file holds an example, by the ending of its name or, with another ending, by its first bytes."""
    return path.lower().endswith(tuple(kind.endings)) or kind.recognises(first_bytes(path))


def first_bytes(path: str) -> bytes:
    """Returns the first `HEAD` bytes of a regular file; nothing where it cannot be read."""
    try:
        # Opening a pipe would wait for its writer.
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD)
    except (OSError, ValueError):
        return b""
