"""Preprocessing of pictures inside the model, one set of operations for tensors and for a functional Keras model.

Training, evaluation, the SavedModel and the `.keras` file all compute them, in this order, so that the export computes
what was measured. Symbolic Keras tensors get operations of Keras only, so that the file loads in safe mode.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# Mean and deviation of the ImageNet weights, in the order of channels that `scale` gives.
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_TORCH_MEAN, _TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Preprocesses pictures of any size, uint8 or float in [0, 255], to inputs of a network.

    Attributes:
        size: side of the network's input in pixels.
        mode: see `scale`.
    """

    size: int
    mode: str

    def __call__(self, images):
        """Maps `[B, H, W, 3]` to float32 `[B, size, size, 3]`."""
        return scale(resize(images, self.size), self.mode)

    def fitting(self, images):
        """Maps pictures that have the network's size, `[B, size, size, 3]` float, to float32 of the same shape."""
        return scale(images, self.mode)


def resize(images, size: int):
    """Resizes images to a square, without padding, onto the uint8 grid.

    Bilinear with antialiasing when it shrinks, then rounded: a picture resized here once and
    stored as uint8 passes a second time unchanged, so a stored data set and a raw picture given
    to the exported model go through the same numbers.

    Args:
        images: `[B, H, W, C]` or `[H, W, C]`, any numeric type, values in [0, 255].
        size: side of the result in pixels.

    Returns:
        float32 `[..., size, size, C]` of whole numbers in [0, 255].
    """
    images = ops.cast(images, "float32")
    height, width = images.shape[-3], images.shape[-2]
    if height is None or width is None:
        images = _of_any_size(images, size)
    elif (height, width) != (size, size):
        images = _bilinear(images, size, max(height, width) > size)
    # The kernel has positive weights with sum 1: results leave [0, 255] by less than the rounding corrects.
    return ops.round(images)


def _of_any_size(images, size: int):
    """Chooses the kernel by the sides, at run time: where both apply, they differ by a grey level."""
    if not isinstance(images, keras.KerasTensor):
        shrinks = tf.reduce_max(tf.shape(images)[-3:-1]) > size
        return tf.cond(shrinks, lambda: _bilinear(images, size, True), lambda: _bilinear(images, size, False))
    # A functional model does not know the sides while it is built: it computes both kernels.
    height = ops.sum(ops.ones_like(images[:, :, 0, 0]), axis=1)
    width = ops.sum(ops.ones_like(images[:, 0, :, 0]), axis=1)
    shrinks = ops.reshape(ops.greater(ops.maximum(height, width), size), (-1, 1, 1, 1))
    return ops.where(shrinks, _bilinear(images, size, True), _bilinear(images, size, False))


def _bilinear(images, size: int, antialias: bool):
    # The antialiasing kernel exists for CPUs only, and is left out where it changes nothing. Not by the Resizing
    # layer, which runs in training mode by default, and with it the layers after it.
    return ops.image.resize(images, (size, size), "bilinear", antialias=antialias, data_format="channels_last")


def scale(images, mode: str):
    """Scales float RGB pixels in [0, 255] to the range that weights of this mode expect.

    Args:
        images: `[..., 3]`.
        mode: as of `keras.applications.imagenet_utils.preprocess_input`, whose numbers these are to the bit: `caffe`
            (BGR minus mean), `tf` ([-1, 1]), `torch` (mean and deviation); `v2` for x / 128 - 1; or `raw`.
    """
    if mode == "raw":
        return images
    if mode == "caffe":
        return ops.stack([images[..., i] for i in (2, 1, 0)], axis=-1) + _row(-np.array(_CAFFE_MEAN), images)
    if mode == "torch":
        return (images / 255.0 + _row(-np.array(_TORCH_MEAN), images)) / _row(np.array(_TORCH_DEVIATION), images)
    # EfficientNetV2 S to L were trained on v2, not on the usual x / 127.5 - 1.
    return images / {"tf": 127.5, "v2": 128.0}[mode] - 1.0


def _row(values: np.ndarray, like):
    """Returns a constant for the channels, of the type of a tensor."""
    return ops.convert_to_tensor(values, dtype=like.dtype)
