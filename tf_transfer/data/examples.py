"""The part of a modality that data sources use: how files are measured, decoded and stored."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

HEAD = 32
"""How many bytes at the start of a file say what it holds."""


class Sides(tuple[int, ...]):
    """The sides of an example, with a remark.

    Attributes:
        remark: what the user should know of how the file is read, such as "16 bits"; mostly empty.
    """

    remark: str

    def __new__(cls, sides: Sequence[int], remark: str = ""):
        """Makes a tuple of the sides."""
        made = super().__new__(cls, sides)
        made.remark = remark
        return made


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


@dataclass(frozen=True)
class Row:
    """One line of a list of examples.

    Attributes:
        split: one of `train`, `validation`, `test`, or "" where the data set has no splits.
        label: name of its class, as given.
        path: of the file.
        name: name of the example in reports.
        group: name of its group, whose examples stay in one split; "" where there are none.
    """

    split: str
    label: str
    path: str
    name: str
    group: str = ""


class Examples(Protocol):
    """The part of `modalities.base.Modality` that data sources use.

    Attributes:
        name: of the modality, such as `image`.
        one, many: the words for an example and for several.
        endings: of the files that hold an example, in lower case.
        convertible: further endings, of files that `read` brings to a kind that `decode` takes.
        dtype: of stored examples.
        tfds_feature: class of `tensorflow_datasets.features` that holds an example; None where TFDS has none.
    """

    name: str
    one: str
    many: str
    endings: tuple[str, ...]
    convertible: tuple[str, ...]
    dtype: type
    tfds_feature: str | None

    def measure(self, file: str | BinaryIO) -> tuple[int, ...] | str:
        """Returns the sides of the example in a file, read from its start, or why it cannot be read.

        `Sides` have a remark, too.
        """

    def remarked(self, remark: str, count: int, first: np.ndarray) -> str:
        """Returns a note for the user on the examples whose files have this remark, by the first of them as stored."""

    def recognises(self, head: bytes) -> bool:
        """Says whether a file that starts with these `HEAD` bytes holds an example, whatever its name."""

    def passed_over(self, head: bytes) -> str:
        """Returns why a file that starts with these bytes is not taken for an example."""

    def likeness(self, path: str) -> bytes | None:
        """Returns 8 bytes of which copies of an example that were saved again differ in a few bits; None without."""

    def stored(self, sides: np.ndarray, size: int | None) -> Stored:
        """Decides the form in which examples of these `[N, R]` sides are kept for an input size."""

    def read(self, path: Any) -> Any:
        """Reads a file, a scalar path, in tf.data: to content that `decode` takes."""

    def decode(self, content: Any) -> Any:
        """Decodes one file, a scalar string tensor; fails on a damaged one."""

    def fit(self, example: Any, form: Stored) -> Any:
        """Brings a decoded example to its stored form."""

    def resized(self, inputs: np.ndarray, size: int) -> np.ndarray:
        """Brings stored examples `[N, ...]` to another size."""


class Kind(Protocol):
    """What tells the files of examples from others: a modality, or the words of an exported model."""

    endings: Sequence[str]
    convertible: Sequence[str]

    def recognises(self, head: bytes) -> bool:
        """See `Examples.recognises`."""

    def passed_over(self, head: bytes) -> str:
        """See `Examples.passed_over`."""


def is_example(path: str, kind: Kind) -> bool:
    """Says whether a file holds an example, by the ending of its name or, with another ending, by its first bytes."""
    return path.lower().endswith((*kind.endings, *kind.convertible)) or kind.recognises(first_bytes(path))


def why_not(path: str, kind: Kind) -> str:
    """Returns the ending of a file that is not taken for an example, and why: ".txt, no picture by content"."""
    name = os.path.basename(path)
    if name.startswith("."):
        return "hidden"
    if os.path.islink(path) and not os.path.exists(path):
        return "broken link"
    ending = os.path.splitext(name)[1].lower() or "without ending"
    return f"{ending}, {_reason(path, kind)}"


def _reason(path: str, kind: Kind) -> str:
    if not os.path.isfile(path):
        return "no file but a pipe or device"
    if not os.access(path, os.R_OK):
        return "no right to read it"
    head = first_bytes(path)
    return kind.passed_over(head) if head else "empty"


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
