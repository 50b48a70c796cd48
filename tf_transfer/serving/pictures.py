"""Pictures given as arrays, in grey, or as Pillow images, to the input of a model of pictures.

It is here and not in `modalities.image` because prediction with an exported model needs TensorFlow alone.
"""

import numpy as np

from tf_transfer.serving.signatures import Tensor

MAX_PIXELS = 100_000_000
"""Pictures whose header claims more pixels are not decoded; 300 MB as uint8, four times that as float32."""
TOO_LARGE = f"more than {MAX_PIXELS // 10**6} million pixels"

ARRAYS = "uint8 of shape [H, W, 3], [H, W, 1] or [H, W] with no side 0"
STACKS = "[N, H, W, 3] or [N, H, W, 1]"


def takes(tensor: Tensor) -> bool:
    """Says whether an input takes pictures: uint8 `[N, H, W, C]`."""
    return tensor.dtype == np.uint8 and tensor.shape is not None and len(tensor.shape) == 4


def is_stack(array: np.ndarray) -> bool:
    """Says whether an array is a stack of pictures of one size, none of them empty."""
    return array.ndim == 4 and array.dtype == np.uint8 and array.shape[-1] in (1, 3) and all(array.shape[1:])


def one(array: np.ndarray) -> np.ndarray | None:
    """Returns a colour or grey picture as uint8 `[H, W, 3]`; None for anything else."""
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] not in (1, 3) or not array.size:
        return None
    return np.broadcast_to(array, (*array.shape[:2], 3))


def is_pillow(item: object) -> bool:
    """Says whether an object is a Pillow image."""
    return hasattr(item, "convert")


def in_colours(image):
    """Converts a Pillow image with palette, transparency or CMYK to RGB, as its file would be decoded.

    Two things differ: transparent pixels of a GIF file become black, and an EXIF orientation is applied to a file
    alone; a Pillow image is taken as it is, see `PIL.ImageOps.exif_transpose`.
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
