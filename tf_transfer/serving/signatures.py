"""Inputs and outputs of the signatures of a SavedModel. Needs no TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EXAMPLES, FILES, FEATURES = "serving_default", "serve_bytes", "features"
"""The signatures of an export: examples, files of them, and embeddings."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a signature.

    Attributes:
        name: as clients call it.
        kind: of `numpy.dtype.kind`; "S" for strings.
        dtype: as NumPy has it; object for strings.
        shape: None for a side of any length; None as a whole for any shape.
    """

    name: str
    kind: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None

    @property
    def batched(self) -> bool:
        """Whether the first dimension counts rows and may be of any length."""
        return bool(self.shape) and self.shape[0] is None

    def fits(self, shape: Sequence[int]) -> bool:
        """Says whether it takes an array of this shape."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(b in (None, a) for a, b in zip(shape, self.shape, strict=True))

    def blank(self) -> np.ndarray:
        """Returns a small array that it takes: one row, and 3 for every other open dimension, which may be channels."""
        first, *others = self.shape or (None,)
        shape = [first or 1, *(side or 3 for side in others)]
        return np.full(shape, b"", object) if self.kind == "S" else np.zeros(shape, self.dtype)


@dataclass(frozen=True)
class Signature:
    """A function of the model.

    Attributes:
        name: as clients call it.
        inputs: its inputs.
        outputs: names of its outputs.
        batched: whether rows of several requests may be joined in one call.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    batched: bool
