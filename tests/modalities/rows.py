"""A stub modality: rows of numbers under a dense network, as another package would add one by `--import=rows`."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tf_transfer.data.array_source import ArraySource
from tf_transfer.data.examples import Stored
from tf_transfer.data.sources import SOURCES
from tf_transfer.errors import UserError
from tf_transfer.modalities import backbones, base
from tf_transfer.registry import Registry

OPERATIONS, MIXERS = Registry("augmentation of rows"), Registry("mixer of rows")
NUMBERS, CLASSES = 6, ("low", "middle", "high")


class Scaled:
    """The preprocessing inside the model: a tenth of every number."""

    def __init__(self, size: int, mode: str):
        self.size, self.mode = size, mode

    def __call__(self, rows):
        """Maps `[B, size]` rows, symbolic or not, to what the network takes."""
        from keras import ops

        return ops.cast(ops.reshape(rows, (-1, self.size)), "float32") / 10.0


class Rows(base.Modality):
    """Rows of numbers; a size is how many of them."""

    name, one, many, unit = "row", "row", "rows", "numbers"
    endings, dtype = (".row",), np.float32
    corruptions, severities = ("noise", "loss", "gain"), (1, 2, 3)

    def measure(self, file: str | BinaryIO) -> tuple[int, ...] | str:
        """Returns how many numbers a file holds."""
        try:
            content = Path(file).read_bytes() if isinstance(file, str) else file.read()
            return (len(np.loadtxt(io.BytesIO(content), np.float32, ndmin=1)),)
        except (OSError, ValueError) as e:
            return str(e)

    def stored(self, sides: np.ndarray, size: int | None) -> Stored:
        """Keeps rows as they are; all must be of one length."""
        if len(np.unique(sides)) > 1:
            raise UserError(f"The rows differ in length, {sides.min()} to {sides.max()} numbers.")
        return Stored((int(sides[0, 0]),), native=True, dtype=np.float32)

    def decode(self, content):
        """Decodes a file of numbers to float32 `[D]`."""
        import tensorflow as tf

        return tf.strings.to_number(tf.strings.split(content))

    def fit(self, example, form: Stored):
        """Fails where a row is of another length."""
        import tensorflow as tf

        return tf.ensure_shape(example, form.shape)

    def decode_rows(self, contents, size: int):
        """Decodes the files that hold `size` numbers."""
        import tensorflow as tf

        number = r"[-+]?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?"
        good = tf.strings.regex_full_match(contents, rf"\s*{number}(\s+{number}){{{size - 1}}}\s*")
        texts = tf.where(good, contents, " ".join(["0"] * size))
        rows = tf.reshape(tf.strings.to_number(tf.strings.split(texts).flat_values), (-1, size))
        return rows, tf.where(good, "ok", f"not {size} numbers")

    def resized(self, inputs: np.ndarray, size: int) -> np.ndarray:
        """Rows have no other size."""
        return inputs

    def build(self, backbone: backbones.Backbone, size: int, weights: str | None = None):
        """Builds the network."""
        return backbone.function()(size, **backbones.constructor_arguments(backbone))

    def inputs(self, size: int, mode: str):
        """Returns `Scaled`."""
        return Scaled(size, mode)

    def signature(self):
        """Returns `rows`, float32 `[N, D]`."""
        import tensorflow as tf

        return "rows", tf.TensorSpec((None, None), tf.float32, "rows")

    def augmentation(self, text: str):
        """Parses `jitter(0.1)` and `negate`."""
        from tf_transfer.modalities import augmentation

        return augmentation.parse(text, OPERATIONS, MIXERS)

    def default_augmentation(self, class_names: Sequence[str], gentle: bool) -> str:
        """Jitters where more than the rows themselves are shown."""
        return "none" if gentle else "jitter(0.1)"

    def effort(self, size: int) -> float:
        """Returns the share of a thousand numbers."""
        return size / 1000

    def random(self, n: int, size: int) -> np.ndarray:
        """Returns normal numbers."""
        return np.random.default_rng(0).normal(size=(n, size)).astype(np.float32)

    def corrupt(self, inputs: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
        """Adds noise, sets numbers to zero, or doubles them."""
        drawn = [np.random.default_rng((seed, row)).normal(size=inputs.shape[1]) for row in range(len(inputs))]
        noise = np.reshape(drawn, inputs.shape)
        if name == "noise":
            return (inputs + severity * noise).astype(np.float32)
        return np.where(noise > 1.5 - severity / 2, 0 if name == "loss" else 2 * inputs, inputs).astype(np.float32)

    def show(self, example: np.ndarray) -> dict[str, str]:
        """Returns the numbers as text."""
        return {"text": " ".join(f"{number:g}" for number in example)}

    def sample(self, example: np.ndarray) -> tuple[str, bytes]:
        """Returns the numbers as a file."""
        return ".row", " ".join(f"{number:.9g}" for number in example).encode()


@OPERATIONS.register("jitter")
def jitter(size: float = 0.1):
    """Shifts a whole row. Reads column 0."""
    return lambda rows, uniform: rows + size * (uniform[:, :1] - 0.5)


@OPERATIONS.register("negate")
def negate():
    """Changes all signs with probability 1/2. Reads column 1."""
    import tensorflow as tf

    def apply(rows, uniform):
        return tf.where(uniform[:, 1:2] < 0.5, -rows, rows)

    apply.mirror = lambda rows: -rows
    return apply


def network(size: int, width: int = 16):
    """Builds two dense layers: `[B, size]` to `[B, width]`."""
    import keras

    inputs = keras.Input((size,))
    x = keras.layers.Dense(width, activation="relu", name="first")(inputs)
    x = keras.layers.Dropout(0.1, name="drop")(x)
    return keras.Model(inputs, keras.layers.Dense(width, activation="relu", name="second")(x))


def open_rows(n: int = 300, seed: int = 0, shift: float = 0.0, test_fraction: float = 0.3) -> ArraySource:
    """Draws rows of three classes around -8, 0 and 8, moved by `shift`."""
    random, labels = np.random.default_rng(seed), np.arange(n) % 3
    rows = 8.0 * (labels[:, None] - 1) + shift + random.normal(0, 4, (n, NUMBERS))
    return ArraySource("rows", rows.astype(np.float32), labels, CLASSES, test_fraction, base.find("row"))


base.MODALITIES.register("row")(Rows())
backbones.register("rows", backbones.Backbone("rows:network", "tenth", NUMBERS, 400, 1, imagenet=False, modality="row"))
SOURCES.register("rows")(open_rows)
