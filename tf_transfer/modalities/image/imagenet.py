"""Networks with the ImageNet weights that `keras.applications` publishes, and the classifier on top of them."""

import os
import socket
import warnings
from contextlib import contextmanager

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.modalities import backbones


def published(backbone: backbones.Backbone, spec: str, size: int):
    """Builds a network with its ImageNet weights, see `modalities.base.Modality.published`."""
    try:
        with _socket_timeout(8.0), warnings.catch_warnings():
            # MobileNets have files for some sizes only; for others Keras loads the 224 px file and warns.
            warnings.filterwarnings("ignore", message=".*Weights for input shape")
            return _as_from_a_file(backbone, size, backbones.build(backbone, size, "imagenet"))
    # Keras raises a bare Exception when a download fails.
    except Exception as e:
        if isinstance(e, UserError) or "URL fetch failure" not in str(e):
            raise
        home = os.environ.get("KERAS_HOME", "~/.keras")
        raise UserError(
            f"--weights=imagenet: the weights of {one_line(spec)} are not in {home}/models and could not be downloaded "
            f"({one_line(e, 120)}). Run once on a connected machine, copy {home}/models here and set KERAS_HOME, "
            "or give --weights=FILE.weights.h5, --weights=FILE.keras or --weights=random."
        ) from e


def _as_from_a_file(backbone: backbones.Backbone, size: int, model):
    """Returns the network with the same layers as when its weights come from a file.

    For `imagenet` alone, Keras gives EfficientNet B0 to B7 one more layer: it divides the normalised pixels by
    the root of the deviation. A network that is rebuilt from the weights file of a phase lacks this layer. So the
    division is moved into the variance of the Normalization layer, which files keep.
    """
    if not backbone.constructor.startswith("EfficientNetB"):
        return model
    import keras

    plain = backbones.build(backbone, size)
    plain.set_weights(model.get_weights())
    scale = next(
        layer.scale for layer in model.layers if isinstance(layer, keras.layers.Rescaling) and np.ndim(layer.scale)
    )
    inside = next(layer for layer in plain.layers if isinstance(layer, keras.layers.Normalization))
    inside.adapt_variance.assign(inside.adapt_variance / np.square(scale))
    inside.finalize_state()
    return plain


def published_head(backbone: backbones.Backbone, features: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the ImageNet classifier on top of a network, as kernel `[features, 1000]` and bias `[1000]`.

    None where it is not on this machine and cannot be downloaded, or does not take the pooled features.

    Args:
        backbone: the parsed spec.
        features: width of the pooled features.
    """
    try:
        with _socket_timeout(8.0), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Weights for input shape")
            model = backbone.function()(weights="imagenet", **backbones.constructor_arguments(backbone))
    # Keras raises a bare Exception when a download fails.
    except Exception as e:
        if "URL fetch failure" in str(e):
            return None
        raise
    kernel, bias = next(w for layer in reversed(model.layers) if len(w := layer.get_weights()) == 2)
    kernel = kernel.reshape(-1, kernel.shape[-1])
    return (kernel, bias) if len(kernel) == features else None


@contextmanager
def _socket_timeout(seconds: float):
    """Inside, sockets time out: on a network that drops packets, urllib by itself waits for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
