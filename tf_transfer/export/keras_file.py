"""A `.keras` file of Keras' own layers and operations: pictures of any size to logits, to be tuned further."""

from pathlib import Path

import keras
from keras import layers, ops

from tf_transfer.export.trained import Trained
from tf_transfer.machine.precision import precision_policy

# Of the ImageNet weights, in RGB, as `imagenet_utils.preprocess_input` has them.
_CAFFE_MEAN = (123.68, 116.779, 103.939)
_TORCH_MEAN, _TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write(trained: Trained, path: Path) -> None:
    """Writes the model: uint8 `[N, H, W, 3]` of any size to float32 logits `[N, C]`.

    It loads by `keras.models.load_model` alone, in safe mode: no class of this package, no Lambda layer. The network is
    one layer of it, the plain one of `keras.applications`, so that it can be frozen or taken out as a whole.
    """
    build(trained).save(path)


def build(trained: Trained) -> keras.Model:
    """Returns the model that `write` writes."""
    classifier = trained.classifier
    network = trained.plain()
    with precision_policy("float32"):
        images = keras.Input((None, None, 3), dtype="uint8", name="images")
        outputs = network(scaled(resized(images, classifier.size), classifier.mode))
        if classifier.dropout:
            outputs = layers.Dropout(classifier.dropout)(outputs)
        head = layers.Dense(classifier.num_classes, name="logits")
        model = keras.Model(images, head(outputs), name="classifier")
    head.set_weights(classifier.head.get_weights())
    return model


def resized(images, size: int):
    """Resizes as `pixels.resize` does, which antialiases where a side shrinks and rounds to whole grey levels.

    The antialiasing kernel differs by a grey level where nothing shrinks: both are computed, and one is taken.
    """
    images = ops.cast(images, "float32")
    # In a functional model a side is known as a number of pixels only.
    height = ops.sum(ops.ones_like(images[:, :, 0, 0]), axis=1)
    width = ops.sum(ops.ones_like(images[:, 0, :, 0]), axis=1)
    shrinks = ops.reshape(ops.greater(ops.maximum(height, width), size), (-1, 1, 1, 1))
    # Not by the layer Resizing: it is in training mode unless told otherwise, and takes with it what follows.
    smooth, plain = (
        ops.image.resize(images, (size, size), "bilinear", antialias=antialias, data_format="channels_last")
        for antialias in (True, False)
    )
    return ops.round(ops.where(shrinks, smooth, plain))


def scaled(pixels, mode: str):
    """Scales float RGB pixels in [0, 255] as `backbones.preprocess` does, by layers and operations."""
    if mode == "raw":
        return pixels
    if mode == "caffe":
        return layers.Rescaling(1.0, [-mean for mean in reversed(_CAFFE_MEAN)])(ops.flip(pixels, axis=-1))
    if mode == "torch":
        scale = [1 / (255 * deviation) for deviation in _TORCH_DEVIATION]
        offset = [-mean / deviation for mean, deviation in zip(_TORCH_MEAN, _TORCH_DEVIATION, strict=True)]
        return layers.Rescaling(scale, offset)(pixels)
    return layers.Rescaling(1 / {"tf": 127.5, "v2": 128.0}[mode], -1.0)(pixels)
