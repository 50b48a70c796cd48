"""What a signature of a SavedModel takes and gives, without TensorFlow."""

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
        """Whether the first side is that of the rows, of which there may be any number."""
        return bool(self.shape) and self.shape[0] is None

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an array of a shape can be given to it."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(b in (None, a) for a, b in zip(shape, self.shape, strict=True))

    def blank(self) -> np.ndarray:
        """A small array that it takes: one row, and 3 for each further open side, which may be that of channels."""
        first, *others = self.shape or (None,)
        shape = [first or 1, *(side or 3 for side in others)]
        return np.full(shape, b"", object) if self.kind == "S" else np.zeros(shape, self.dtype)


@dataclass(frozen=True)
class Signature:
    """A function of the model.

    Attributes:
        name: as clients call it.
        inputs: what it takes.
        outputs: the names of what it returns.
        batched: whether rows of several requests may be joined in one call.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    batched: bool
