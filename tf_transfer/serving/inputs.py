"""Turns examples given as arrays, files or bytes into the input of an exported model."""

import os
import stat
from collections.abc import Iterable

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.serving import pictures
from tf_transfer.serving.signatures import Tensor

MAX_BYTES = 1 << 30
"""Larger files are not read; 100 million uncompressed pixels of 16 bits and four channels are smaller."""

OK, DAMAGED = "ok", "damaged, or cut short"
"""Status of a decoded file, and of a file that cannot be decoded where the model gives no reason."""

_BYTES = (bytes, bytearray, memoryview)


class InputError(Exception):
    """The reason, in a few words, why one example has no answer."""


def rows(inputs: object, tensor: Tensor) -> Iterable:
    """Splits an argument into examples: one, a stack of them, or any iterable.

    Args:
        inputs: as `Predictor.predict` takes it.
        tensor: the input of the model.

    Raises:
        UserError: the argument is none of these.
    """
    if isinstance(inputs, (str, os.PathLike, *_BYTES)) or pictures.is_pillow(inputs):
        return [inputs]
    if _is_array(inputs):
        array = np.asarray(inputs)
        if array.ndim == 1 and array.dtype.kind in "OSU":
            return array.tolist()
        if _is_stack(array, tensor):
            return array
        try:
            return [to_array(array, tensor)]
        except InputError as e:
            stacks = pictures.STACKS if pictures.takes(tensor) else _shape(tensor.shape)
            raise UserError(f"{tensor.name}: {e}, or a stack of them, {stacks}.") from e
    if isinstance(inputs, Iterable) and not isinstance(inputs, dict):
        return inputs
    got = f"{type(inputs).__name__} {one_line(inputs, 60)!r}"
    raise UserError(f"{tensor.name}: expected arrays, files or bytes, got {got}.")


def _is_stack(array: np.ndarray, tensor: Tensor) -> bool:
    if pictures.takes(tensor):
        return pictures.is_stack(array)
    return tensor.fits(array.shape) and _castable(array, tensor)


def to_content(item: object) -> bytes | None:
    """Returns the bytes of a file, given as a path or as bytes; None for an example that is not a file.

    Raises:
        InputError: it cannot be read.
    """
    if isinstance(item, _BYTES):
        return bytes(item)
    if not isinstance(item, (str, os.PathLike)):
        return None
    try:
        state = os.stat(item)
        # Opening a pipe would wait for its writer.
        if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
            raise InputError("not a regular file")
        if state.st_size > MAX_BYTES:
            raise InputError(f"more than {MAX_BYTES >> 30} GiB")
        with open(item, "rb") as file:
            return file.read()
    except (OSError, ValueError) as e:
        raise InputError(getattr(e, "strerror", None) or "cannot be read") from e


def to_array(item: object, tensor: Tensor) -> np.ndarray:
    """Makes an example of an array, or of an object that converts to one, such as a Pillow image.

    Args:
        item: the example, without the side of the rows.
        tensor: the input of the model, with that side.

    Raises:
        InputError: it is of another type or shape.
    """
    if not _is_array(item):
        raise InputError(f"expected an array, a file or bytes, got {type(item).__name__}")
    of_pictures = pictures.takes(tensor)
    try:
        array = np.asarray(pictures.in_colours(item) if of_pictures and pictures.is_pillow(item) else item)
    except (OSError, ValueError, SyntaxError) as e:
        # A Pillow image reads its file here.
        raise InputError(one_line(e)) from e
    found = pictures.one(array) if of_pictures else _one(array, tensor)
    if found is None:
        expected = pictures.ARRAYS if of_pictures else f"{tensor.dtype} of shape {_shape(tensor.shape[1:])}"
        raise InputError(f"expected {expected}, got {array.dtype} of shape {list(np.shape(item))}")
    return found


def _one(array: np.ndarray, tensor: Tensor) -> np.ndarray | None:
    if not tensor.fits((1, *array.shape)) or not _castable(array, tensor):
        return None
    return array.astype(tensor.dtype, copy=False)


def _castable(array: np.ndarray, tensor: Tensor) -> bool:
    """Says whether an array may be cast: floats of any precision, integers only without loss."""
    return np.can_cast(array.dtype, tensor.dtype, "same_kind" if array.dtype.kind == tensor.kind == "f" else "safe")


def _shape(sides: tuple[int | None, ...] | None) -> str:
    if sides is None:
        return "of any shape"
    return "[" + ", ".join("any" if side is None else str(side) for side in sides) + "]"


def _is_array(item: object) -> bool:
    # Ask the type, not the object: a Pillow image would read its file.
    held = getattr(item, "__dict__", ())
    return any(hasattr(type(item), name) or name in held for name in ("__array__", "__array_interface__"))
