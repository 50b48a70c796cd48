"""Where pretrained weights come from: ImageNet, a file, an earlier run, or nowhere."""

import hashlib
import os
import socket
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.modalities import backbones
from tf_transfer.phases.catalogue import lenders

BACKBONE_FILE = "backbone.weights.h5"
HEAD_FILE = "head.weights.h5"


def load_backbone(backbone: backbones.Backbone, spec: str, weights: str, size: int):
    """Builds a backbone and gives it its pretrained weights.

    Args:
        backbone: the parsed spec.
        spec: its text, for messages.
        weights: `imagenet`, `random`, a `.weights.h5`, `.h5` or `.keras` file, or a run directory.
        size: input side in pixels.

    Raises:
        UserError: weights that are not there, cannot be fetched, or do not fit.
    """
    check(backbone, spec, weights)
    if weights == "random":
        return backbones.build(backbone, size)
    if weights == "imagenet":
        return _imagenet(backbone, spec, size)
    model = backbones.build(backbone, size)
    load_file(model, weights_file(weights), f"--backbone={spec}")
    return model


def check(backbone: backbones.Backbone, spec: str, weights: str) -> None:
    """Finds weights that are not there before anything is built.

    Args:
        backbone: the parsed spec.
        spec: its text, for messages.
        weights: as for `load_backbone`.

    Raises:
        UserError: ImageNet weights where none are published; no such file or run directory.
    """
    if weights == "imagenet" and not backbone.imagenet:
        raise UserError(
            f"--weights=imagenet: none are published for {one_line(spec)}; use --weights=random or a run directory."
        )
    if weights not in ("imagenet", "random"):
        weights_file(weights)


def weights_file(weights: str) -> Path:
    """Returns the backbone file that `--weights` means: the file itself, or one inside a run directory.

    Raises:
        UserError: nothing of the kind is there.
    """
    path = Path(weights).expanduser()
    if path.is_dir():
        found = [path / phase / BACKBONE_FILE for phase in lenders() if (path / phase / BACKBONE_FILE).is_file()]
        if (path / BACKBONE_FILE).is_file():
            found.insert(0, path / BACKBONE_FILE)
        if not found:
            raise UserError(
                f"--weights={one_line(weights)!r} is a directory without a trained model: expected a run directory in "
                f"which a phase has ended, with <phase>/{BACKBONE_FILE}."
            )
        return found[0]
    if not path.is_file() or not path.name.endswith((".h5", ".keras")):
        raise UserError(
            f"--weights={one_line(weights)!r}: expected imagenet, random, an existing .weights.h5, .h5 or .keras file, "
            "or the run directory of an earlier run."
        )
    return path


def load_file(model, path: Path, what: str) -> None:
    """Loads a weights file into `model`; of a `.keras` file the network inside that is of the same layers.

    Raises:
        UserError: the file is damaged or was written for another network.
    """
    try:
        with warnings.catch_warnings():
            # Keras warns of some of what it cannot load, and then raises for all of it.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            if path.suffix == ".keras":
                model.set_weights(_inside(model, path).get_weights())
            else:
                model.load_weights(path)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as e:
        raise UserError(
            f"The weights in {one_line(path)} do not fit {one_line(what)} or are damaged: {one_line(e).rstrip('.')}. "
            "A file must hold the network without its top."
        ) from e


def _inside(model, path: Path):
    """Returns the network of the layers of `model` in a `.keras` file: the whole of it, or one of its layers.

    Nothing that the file brings is run: safe mode refuses what would.
    """
    import keras

    whole = keras.models.load_model(path, compile=False, safe_mode=True)
    found = [part for part in (whole, *whole.layers) if isinstance(part, keras.Model) and _form(part) == _form(model)]
    if not found:
        raise ValueError("it holds no network of these layers and shapes")
    return found[0]


def _form(model) -> list:
    """Returns what two networks have in common whose weights mean the same: class and shapes, layer by layer."""
    return [(type(layer).__name__, [tuple(w.shape) for w in layer.weights]) for layer in model.layers if layer.weights]


def _imagenet(backbone: backbones.Backbone, spec: str, size: int):
    try:
        with _socket_timeout(8.0), warnings.catch_warnings():
            # MobileNets have files for some sizes only; that another size starts from the 224 one is as meant.
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
    """Returns the network as it is when its weights come from a file.

    Keras gives EfficientNet B0 to B7 one more layer for `imagenet` alone, a division of the normalised
    pixels by the root of the deviation. Rebuilt from what a phase left, the network would lack it: the
    division goes into the variance of the Normalization, which files do keep.
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


def imagenet_head(backbone: backbones.Backbone, features: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the ImageNet classifier on top of a network, as kernel `[features, 1000]` and bias `[1000]`.

    None where it is neither here nor to be downloaded, or reads something else than the pooled features.

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
    """A network that drops packets must fail in seconds; urllib by itself waits for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def digest_files(folder: Path) -> str:
    """Returns 16 hex digits that identify the two weights files that a phase left."""
    h = hashlib.sha256()
    for name in (BACKBONE_FILE, HEAD_FILE):
        h.update((folder / name).read_bytes())
    return h.hexdigest()[:16]


def digest(model) -> str:
    """Returns 16 hex digits that identify all weights of a model: equal weights, equal digest."""
    h = hashlib.sha256()
    for variable in model.weights:
        h.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return h.hexdigest()[:16]
