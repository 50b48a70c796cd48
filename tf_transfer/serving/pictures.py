"""Arrays of pictures, grey ones and Pillow images: what the signature of a model of pictures leaves open.

Beside the loader and not in `modalities.image`: an exported model is predicted with TensorFlow alone.
"""

import numpy as np

from tf_transfer.serving.signatures import Tensor

ARRAYS = "uint8 of shape [H, W, 3], [H, W, 1] or [H, W] with no side 0"
STACKS = "[N, H, W, 3] or [N, H, W, 1]"


def takes(tensor: Tensor) -> bool:
    """Whether an input takes pictures: uint8 `[N, H, W, C]`."""
    return tensor.dtype == np.uint8 and tensor.shape is not None and len(tensor.shape) == 4


def is_stack(array: np.ndarray) -> bool:
    """Whether an array is several pictures of one size, none of them empty."""
    return array.ndim == 4 and array.dtype == np.uint8 and array.shape[-1] in (1, 3) and all(array.shape[1:])


def one(array: np.ndarray) -> np.ndarray | None:
    """Makes a uint8 `[H, W, 3]` of a picture in colours or in grey; None of anything else."""
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] not in (1, 3) or not array.size:
        return None
    return np.broadcast_to(array, (*array.shape[:2], 3))


def is_pillow(item: object) -> bool:
    """Whether an object is a Pillow image."""
    return hasattr(item, "convert")


def in_colours(image):
    """Makes colours of a Pillow image's palette, transparency or ink, as is done with a file of it, but of a GIF.

    Transparent pixels of that kind of file become black when it is decoded as a file.
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
