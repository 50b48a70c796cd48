"""Pictures as people have them, arrays, files, bytes, to what an exported model takes."""

import os
import stat
from collections.abc import Iterable

import numpy as np

from tf_transfer.errors import UserError, one_line

MAX_BYTES = 1 << 30
"""A larger file is not read: 100 million pixels of 16 bits and four channels, uncompressed, are smaller."""

_BYTES = (bytes, bytearray, memoryview)
_ARRAYS = "uint8 of shape [H, W, 3], [H, W, 1] or [H, W] with no side 0"


class PictureError(Exception):
    """Why one picture has no answer, in a few words."""


def rows(inputs: object) -> Iterable:
    """Returns the pictures that an argument means: one, a stack `[N, H, W, C]`, or any iterable of them.

    Raises:
        UserError: it is nothing of the kind.
    """
    if isinstance(inputs, (str, os.PathLike, *_BYTES)) or hasattr(inputs, "convert"):
        return [inputs]
    if _is_array(inputs):
        array = np.asarray(inputs)
        if array.ndim == 1 and array.dtype.kind in "OSU":
            return array.tolist()
        if array.ndim == 4 and array.dtype == np.uint8 and array.shape[-1] in (1, 3) and all(array.shape[1:]):
            return array
        try:
            return [to_array(array)]
        except PictureError as e:
            raise UserError(f"images: {e}, or a stack of them, [N, H, W, 3] or [N, H, W, 1].") from e
    if isinstance(inputs, Iterable) and not isinstance(inputs, dict):
        return inputs
    raise UserError(f"images: expected arrays, files or bytes, got {type(inputs).__name__} {one_line(inputs, 60)!r}.")


def to_content(item: object) -> bytes | None:
    """Returns the bytes of a file, given as a path or as bytes; None where the picture is no file.

    Raises:
        PictureError: it cannot be read.
    """
    if isinstance(item, _BYTES):
        return bytes(item)
    if not isinstance(item, (str, os.PathLike)):
        return None
    try:
        state = os.stat(item)
        # To open a pipe would wait for whoever writes to it.
        if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
            raise PictureError("not a regular file")
        if state.st_size > MAX_BYTES:
            raise PictureError(f"more than {MAX_BYTES >> 30} GiB")
        with open(item, "rb") as file:
            return file.read()
    except (OSError, ValueError) as e:
        raise PictureError(getattr(e, "strerror", None) or "cannot be read") from e


def to_array(item: object) -> np.ndarray:
    """Returns the uint8 `[H, W, 3]` of an array, or of what can be made one, such as a Pillow image.

    Raises:
        PictureError: it is of another type or shape.
    """
    if not _is_array(item):
        raise PictureError(f"expected an array, a file or bytes, got {type(item).__name__}")
    try:
        array = np.asarray(_in_colours(item) if hasattr(item, "convert") else item)
    except (OSError, ValueError, SyntaxError) as e:
        # A Pillow image reads its file only now.
        raise PictureError(one_line(e)) from e
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] not in (1, 3) or not array.size:
        raise PictureError(f"expected {_ARRAYS}, got {array.dtype} of shape {list(np.shape(item))}")
    return np.broadcast_to(array, (*array.shape[:2], 3))


def _is_array(item: object) -> bool:
    # Asked of the type: a Pillow image would read its file to answer.
    held = getattr(item, "__dict__", ())
    return any(hasattr(type(item), name) or name in held for name in ("__array__", "__array_interface__"))


def _in_colours(image):
    """Makes colours of a Pillow image's palette, transparency or ink, as is done with a file of it, but of a GIF.

    Transparent pixels of that kind of file become black, as `data.pixels.decode` says.
    """
    mode = getattr(image, "mode", "RGB")
    # Modes I and F have more than 8 bits.
    if mode[0] in "IF":
        return image
    if not getattr(image, "has_transparency_data", False):
        return image if mode in ("RGB", "L") else image.convert("RGB")
    rgba = np.asarray(image.convert("RGBA"), np.float32)
    alpha = rgba[..., 3:] / np.float32(255)
    return np.round(rgba[..., :3] * alpha + np.float32(255) * (1 - alpha)).astype(np.uint8)
