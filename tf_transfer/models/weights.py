"""Loads pretrained weights: a publisher's, a file, an earlier run's, or none."""

import hashlib
import warnings
from pathlib import Path

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.modalities import backbones, base
from tf_transfer.modalities.backbones import PUBLISHED
from tf_transfer.phases.catalogue import lenders

BACKBONE_FILE = "backbone.weights.h5"
HEAD_FILE = "head.weights.h5"


def load_backbone(backbone: backbones.Backbone, spec: str, weights: str, size: int):
    """Builds a backbone and gives it its pretrained weights.

    Args:
        backbone: the parsed spec.
        spec: its text, for messages.
        weights: `imagenet`, `random`, a `.weights.h5`, `.h5` or `.keras` file, or a run directory.
        size: input size.

    Raises:
        UserError: the weights do not exist, cannot be downloaded, or do not fit.
    """
    check(backbone, spec, weights)
    if weights == "random":
        return backbones.build(backbone, size)
    if weights == PUBLISHED:
        return base.find(backbone.modality).published(backbone, spec, size)
    model = backbones.build(backbone, size)
    load_file(model, weights_file(weights), f"--backbone={spec}")
    return model


def check(backbone: backbones.Backbone, spec: str, weights: str) -> None:
    """Refuses weights that do not exist, before anything is built.

    Args:
        backbone: the parsed spec.
        spec: its text, for messages.
        weights: as for `load_backbone`.

    Raises:
        UserError: published weights where there are none; no such file or run directory.
    """
    if weights == PUBLISHED and not backbone.imagenet:
        raise UserError(
            f"--weights={weights}: none are published for {one_line(spec)}; use --weights=random or a run directory."
        )
    if weights not in (PUBLISHED, "random"):
        weights_file(weights)


def weights_file(weights: str) -> Path:
    """Returns the file that `--weights` means: itself, or the backbone's in a run directory.

    Raises:
        UserError: there is no such file or run directory.
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
            f"--weights={one_line(weights)!r}: expected {PUBLISHED}, random, an existing .weights.h5, .h5 or .keras "
            "file, or the run directory of an earlier run."
        )
    return path


def load_file(model, path: Path, what: str) -> None:
    """Loads a weights file into `model`; from a `.keras` file, the network in it that has the same layers.

    Raises:
        UserError: the file is damaged or was written for another network.
    """
    try:
        with warnings.catch_warnings():
            # Keras first warns about weights that it cannot load, then raises an error about them.
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
    """Returns the network in a `.keras` file that has the layers of `model`: the whole model, or one of its layers.

    Safe mode refuses files that would run code of their own.
    """
    import keras

    whole = keras.models.load_model(path, compile=False, safe_mode=True)
    found = [part for part in (whole, *whole.layers) if isinstance(part, keras.Model) and _form(part) == _form(model)]
    if not found:
        raise ValueError("it holds no network of these layers and shapes")
    return found[0]


def _form(model) -> list:
    """Returns class and shapes of every layer with weights: networks for which they are equal can exchange weights."""
    return [(type(layer).__name__, [tuple(w.shape) for w in layer.weights]) for layer in model.layers if layer.weights]


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
