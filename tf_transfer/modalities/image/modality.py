"""Pictures as a modality: uint8 `[H, W, 3]` examples, from files.

Of JPEG, PNG, GIF, BMP and WebP files everywhere; of TIFF, AVIF and HEIC files in training and in `--phase=predict`.
"""

import base64
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from tf_transfer.data.examples import Stored
from tf_transfer.errors import UserError
from tf_transfer.modalities import backbones, base
from tf_transfer.serving import conversion

LARGEST_LIGHT = 112
"""Largest side in pixels for which large batches are used, see `effort`."""


class Images(base.Modality):
    """Pictures; see `base.Modality`. A size is the side of a square in pixels."""

    name, one, many, unit = "image", "picture", "pictures", "px"
    largest = 2048
    endings = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
    convertible = conversion.ENDINGS
    tfds_feature = "Image"
    targets = ("keras", "weights", "litert_float16", "litert_int8", "onnx")
    raw = "pixels from 0 to 255"
    # Arguments of the constructors that the package sets itself.
    reserved = frozenset({"include_top", "weights", "input_tensor", "input_shape", "pooling", "classes",
                          "classifier_activation", "include_preprocessing", "name", "dropout",
                          "dropout_rate"})  # fmt: skip

    def measure(self, file: str | BinaryIO) -> tuple[int, int] | str:
        """Returns the (height, width) of an upright picture by its header, or why it cannot be read."""
        from tf_transfer.modalities.image.files import header

        return header(file)

    def likeness(self, path: str) -> bytes | None:
        """Returns the difference hash of a picture, see `files.difference_hash`."""
        from tf_transfer.modalities.image.files import difference_hash

        return difference_hash(path)

    def recognises(self, head: bytes) -> bool:
        """Says whether these are the first bytes of a JPEG, PNG, GIF, BMP, WebP, AVIF or HEIC file.

        Not of a TIFF: the raw files of cameras begin as one, and hold a preview at its place.
        """
        from tf_transfer.modalities.image.limits import recognised

        return recognised(head) or conversion.kind(head) in ("AVIF", "HEIC")

    def passed_over(self, head: bytes) -> str:
        """Says of what begins as a TIFF under another ending what it may be."""
        if conversion.kind(head) == "TIFF":
            return "a TIFF by content, such as the raw file of a camera; those named .tif or .tiff are read"
        return super().passed_over(head)

    def remarked(self, remark: str, count: int, first: np.ndarray) -> str:
        """Says of pictures of more than 8 bits how they are stored, and whether they are dark for using few of them."""
        told = f"{count:,} {self.one if count == 1 else self.many} of {remark} a channel: their range is scaled to 8."
        # Numbers of 12 bits in 16 end at 4,095 of 65,535, which is 16 of 255.
        if (top := int(first.max())) <= 16:
            told += f" They are dark, {top} of 255 at most: if they hold fewer bits, scale them to the whole range."
        return told

    def stored(self, sides: np.ndarray, size: int | None) -> Stored:
        """Keeps pictures of one common size up to `size`; others become squares of that side."""
        low, high = sides.min(axis=0), sides.max(axis=0)
        height, width = (int(side) for side in low)
        if (low == high).all() and (size is None or max(height, width) <= size):
            return Stored((height, width, 3), native=True)
        if size is None:
            ranges = f"{low.tolist()} to {high.tolist()}"
            raise UserError(f"The pictures differ in size, {ranges}: give one to resize them to.")
        return Stored((size, size, 3), native=False)

    def read(self, path):
        """Reads a file; a TIFF, AVIF or HEIC one is converted, see `serving.conversion`."""
        import tensorflow as tf

        from tf_transfer.modalities.image import pixels

        content = tf.io.read_file(path)

        def convert():
            return tf.ensure_shape(tf.numpy_function(conversion.converted, [content], tf.string, stateful=False), ())

        return tf.cond(pixels.is_converted(pixels.start(content)), convert, lambda: content)

    def decode(self, content):
        """Decodes a JPEG, PNG, GIF, BMP or WebP file to uint8 `[H, W, 3]`, see `pixels.decode`."""
        from tf_transfer.modalities.image import pixels

        return pixels.decode(content)

    def fit(self, example, form: Stored):
        """Resizes a decoded picture to its stored form, unless all pictures have it."""
        import tensorflow as tf

        from tf_transfer.modalities.image import preprocessing

        example = example if form.native else tf.cast(preprocessing.resize(example, form.shape[0]), tf.uint8)
        return tf.ensure_shape(example, form.shape)

    def decode_rows(self, contents, size: int):
        """Decodes files to uint8 `[N, size, size, 3]` and their statuses, see `decode_rows.decode`."""
        from tf_transfer.modalities.image import decode_rows

        return decode_rows.decode(contents, size)

    def resized(self, inputs: np.ndarray, size: int) -> np.ndarray:
        """Resizes stored pictures to squares of this side."""
        import tensorflow as tf

        from tf_transfer.modalities.image import preprocessing

        return tf.cast(preprocessing.resize(inputs, size), tf.uint8).numpy()

    def build(self, backbone: backbones.Backbone, size: int, weights: str | None = None):
        """Builds a network without its top: float `[B, size, size, 3]` to `[B, D]` pooled features."""
        arguments = backbones.constructor_arguments(backbone)
        shape = (size, size, 3)
        return backbone.function()(include_top=False, weights=weights, input_shape=shape, pooling="avg", **arguments)

    def published(self, backbone: backbones.Backbone, spec: str, size: int):
        """Builds a network with its ImageNet weights."""
        from tf_transfer.modalities.image import imagenet

        return imagenet.published(backbone, spec, size)

    def published_head(self, backbone: backbones.Backbone, features: int):
        """Returns the ImageNet classifier, see `imagenet.published_head`."""
        from tf_transfer.modalities.image import imagenet

        return imagenet.published_head(backbone, features)

    def inputs(self, size: int, mode: str):
        """Returns the `preprocessing.Preprocessing` of a network."""
        from tf_transfer.modalities.image import preprocessing

        return preprocessing.Preprocessing(size, mode)

    def signature(self):
        """Returns `images`, uint8 `[N, H, W, C]`: colour or grey, of any size."""
        import tensorflow as tf

        return "images", tf.TensorSpec((None, None, None, None), tf.uint8, "images")

    def accept(self, inputs):
        """Gives grey pictures three channels; other numbers of channels fail."""
        import tensorflow as tf

        channels = tf.shape(inputs)[3]
        allowed = tf.debugging.Assert(
            (channels == 1) | (channels == 3), ["images must have 1 or 3 channels, not", channels]
        )
        with tf.control_dependencies([allowed]):
            coloured = tf.cond(
                channels == 1, lambda: tf.image.grayscale_to_rgb(inputs[..., :1]), lambda: inputs[..., :3]
            )
            return tf.ensure_shape(coloured, (None, None, None, 3))

    def augmentation(self, text: str):
        """Parses `--augment`, see `augment.parse`."""
        from tf_transfer.modalities.image import augment

        return augment.parse(text)

    def default_augmentation(self, class_names: Sequence[str], gentle: bool) -> str:
        """Chooses flip and crop; no flip where the classes are single characters, which a mirror changes."""
        mirrors = not all(len(name) == 1 for name in class_names)
        if gentle:
            return "flip" if mirrors else "none"
        return "flip,crop(0.125)" if mirrors else "crop(0.0625)"

    def effort(self, size: int) -> float:
        """Returns the number of pixels divided by 112 squared."""
        return (size / LARGEST_LIGHT) ** 2

    def random(self, n: int, size: int) -> np.ndarray:
        """Returns uint8 `[n, size, size, 3]` noise."""
        return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The fifteen common corruptions, see `image.corruptions`."""
        from tf_transfer.modalities.image.corruptions import CORRUPTION

        return tuple(CORRUPTION)

    def corrupt(self, inputs: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
        """Returns pictures corrupted, see `corruptions.corrupt`."""
        from tf_transfer.modalities.image.corruptions import corrupt

        return corrupt(inputs, name, severity, seed)

    def corruptible(self, inputs: np.ndarray, size: int) -> np.ndarray:
        """Resizes pictures that are too small to be corrupted to the size of the network."""
        from tf_transfer.modalities.image.corruptions import SMALLEST

        return inputs if min(inputs.shape[1:3]) >= SMALLEST else self.resized(inputs, max(size, SMALLEST))

    def show(self, example: np.ndarray) -> dict[str, str]:
        """Returns {"png": base64} of a picture."""
        return {"png": base64.b64encode(self.sample(example)[1]).decode()}

    def probe(self, example: np.ndarray, number: int) -> tuple[str, bytes]:
        """Returns a picture as a file with the EXIF orientation 1 + `number` mod 8: PNG, or for even ones WebP."""
        from tf_transfer.modalities.image.files import turned

        return turned(example, 1 + number % 8)

    def sample(self, example: np.ndarray) -> tuple[str, bytes]:
        """Returns a picture as a PNG file."""
        import tensorflow as tf

        return ".png", tf.io.encode_png(np.ascontiguousarray(example)).numpy()
