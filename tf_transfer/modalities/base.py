"""The contract of a modality: what an example is to data, models, training, assessment, export and messages.

A modality is an object of a class below `Modality`, registered under its name:

    MODALITIES.register("image")(Images())

The contract test `tests/modalities/test_contract.py` takes each through every phase.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from tf_transfer.data.examples import Stored
from tf_transfer.registry import Registry

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

MODALITIES = Registry("modality")
"""Modality objects by name; `find` returns one."""


def find(name: str) -> "Modality":
    """Returns the modality of this name.

    Raises:
        UserError: the name is not registered; the message lists those that are.
    """
    return MODALITIES.factory(name)


class Inputs(Protocol):
    """The preprocessing inside a model, see `Modality.inputs`.

    Attributes:
        size: input size of the network.
        mode: how its weights expect inputs, see `backbones.Backbone`.
    """

    size: int
    mode: str

    def __call__(self, examples: "tf.Tensor") -> Any:
        """Maps stored examples `[B, ...]` of any size to inputs of the network."""

    def fitting(self, examples: "tf.Tensor") -> Any:
        """Maps float examples that have the network's size to inputs; only `--export_targets` call it."""


class Modality(ABC):
    """What an example is. Methods import TensorFlow inside, so that wrong names are refused at once.

    Attributes:
        name: `image`; recorded in the model card.
        one, many: the words for an example and for several in every message and page: "picture", "pictures".
        unit: of input sizes in messages: "px".
        largest: largest input size that is accepted.
        endings: of files that hold an example, in lower case, with the dot.
        convertible: of further files, which `read` and `--phase=predict` convert, and the SavedModel does not decode.
        dtype: of stored examples.
        tfds_feature: class of `tensorflow_datasets.features` that holds an example; None where TFDS has none.
        corruptions: names for `corrupt`; () where the assessment leaves corruptions out.
        severities: of each corruption, ascending.
        reserved: arguments of a network's constructor that `build` sets, and a spec may not.
        targets: names of `--export_targets` that hold its networks, beside the SavedModel.
        raw: the numbers of a stored example, in words.
        limits: sentences for the limits of the model card.
    """

    name: str
    one: str
    many: str
    unit: str
    largest: int = 1 << 20
    endings: tuple[str, ...]
    convertible: tuple[str, ...] = ()
    dtype: type = np.uint8
    tfds_feature: str | None = None
    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    reserved: frozenset[str] = frozenset()
    targets: tuple[str, ...] = ()
    raw: str = "numbers as they are stored"
    limits: tuple[str, ...] = ()

    # 1. Files, and the stored form of examples.

    @abstractmethod
    def measure(self, file: str | BinaryIO) -> tuple[int, ...] | str:
        """Returns the dimensions of the example in a file, from its header, or the reason why it cannot be read.

        `data.examples.Sides` carry a remark, for which `remarked` then finds the words.
        """

    def remarked(self, remark: str, count: int, first: np.ndarray) -> str:
        """Returns a note on the `count` examples whose files `measure` gave this remark.

        Args:
            remark: of `data.examples.Sides`.
            count: how many they are.
            first: the first of them as they are stored, `[N, ...]`.
        """
        return f"{count:,} {self.one if count == 1 else self.many}: {remark}."

    def recognises(self, head: bytes) -> bool:
        """Says whether a file that starts with these 32 bytes holds an example, where its ending does not say it."""
        return False

    def passed_over(self, head: bytes) -> str:
        """Returns why a file that starts with these bytes is not taken for an example."""
        return f"no {self.one} by content"

    def likeness(self, path: str) -> bytes | None:
        """Returns 8 bytes of which copies that were saved again differ in a few bits, for `--near_copies`.

        None where the modality has none, or the example is too plain, or cannot be read.
        """
        return None

    @abstractmethod
    def stored(self, sides: np.ndarray, size: int | None) -> Stored:
        """Chooses the stored form of examples with these int `[N, R]` dimensions, for an input size.

        Raises:
            UserError: the sides differ and `size` is None.
        """

    def read(self, path: "tf.Tensor") -> "tf.Tensor":
        """Reads a file, a scalar path, inside tf.data; here files are converted that `decode` does not take."""
        import tensorflow as tf

        return tf.io.read_file(path)

    @abstractmethod
    def decode(self, content: "tf.Tensor") -> "tf.Tensor":
        """Decodes one file, a scalar string, alike in tf.data, eagerly, and inside the SavedModel.

        Raises:
            tf.errors.InvalidArgumentError: the file is damaged, or holds no example.
        """

    @abstractmethod
    def fit(self, example: "tf.Tensor", form: Stored) -> "tf.Tensor":
        """Brings a decoded example to its stored form, by the same operation as the model's preprocessing."""

    @abstractmethod
    def decode_rows(self, contents: "tf.Tensor", size: int) -> tuple["tf.Tensor", "tf.Tensor"]:
        """Decodes files, string `[N]`, inside a SavedModel; a bad file does not affect the others.

        Returns:
            Stored examples at the input size, `[N, ...]`, zero for a bad file; and string `[N]`, `ok` or the reason.
        """

    @abstractmethod
    def resized(self, inputs: np.ndarray, size: int) -> np.ndarray:
        """Resizes stored examples `[N, ...]` to `size`, in the stored type."""

    # 2. The network.

    @abstractmethod
    def build(self, backbone: Any, size: int, weights: str | None = None) -> "keras.Model":
        """Builds the headless network of a `backbones.Backbone`: preprocessed inputs to `[B, D]` features."""

    def published(self, backbone: Any, spec: str, size: int) -> "keras.Model":
        """Builds a network with its published weights; called only where `Backbone.imagenet` says that they exist.

        Raises:
            UserError: they are not on this machine and cannot be downloaded.
        """
        raise NotImplementedError(f"The modality {self.name} does not say where published weights are.")

    def published_head(self, backbone: Any, features: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns kernel and bias of the published classifier on `features` pooled features; None without one."""
        return None

    @abstractmethod
    def inputs(self, size: int, mode: str) -> Inputs:
        """Returns the preprocessing inside the model, an `Inputs`: a callable with `size` and `mode`.

        A modality that names `targets` gives it `fitting` too.

        Args:
            size: input size of the network.
            mode: how its weights expect inputs, see `backbones.Backbone`.
        """

    @abstractmethod
    def signature(self) -> tuple[str, "tf.TensorSpec"]:
        """Returns name and specification of the input of `serving_default`; the first dimension counts rows."""

    def accept(self, inputs: "tf.Tensor") -> "tf.Tensor":
        """Converts inputs of `signature` to stored examples `[N, ...]` of any size, inside the SavedModel."""
        return inputs

    # 3. Training.

    @abstractmethod
    def augmentation(self, text: str) -> Any:
        """Parses `--augment` to an `augmentation.Augmentation`."""

    def default_augmentation(self, class_names: Sequence[str], gentle: bool) -> str:
        """Returns the default of `--augment`.

        Args:
            class_names: of the data set.
            gentle: for a head on few fixed views, without random variation.
        """
        return "none"

    @abstractmethod
    def effort(self, size: int) -> float:
        """Returns the relative work for an example; up to 1, large batches are used, see `rows_at_once`."""

    # 4. Assessment.

    @abstractmethod
    def random(self, n: int, size: int) -> np.ndarray:
        """Returns `n` random stored examples, the same in every call, to time a network."""

    def corrupt(self, inputs: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
        """Corrupts stored examples; row i does not depend on the rows after it."""
        raise ValueError(f"{self.name} has no corruption {name!r}.")

    def corruptible(self, inputs: np.ndarray, size: int) -> np.ndarray:
        """Prepares stored examples for `corrupt`, such as by enlarging small ones to `size`."""
        return inputs

    # 5. Previews and words.

    @abstractmethod
    def show(self, example: np.ndarray) -> dict[str, str]:
        """Returns a preview of a stored example for records: {"png": base64} or {"text": ...}."""

    @abstractmethod
    def sample(self, example: np.ndarray) -> tuple[str, bytes]:
        """Returns ending and content of a file that `decode` reads back to this stored example."""

    def probe(self, example: np.ndarray, number: int) -> tuple[str, bytes]:
        """Returns a file as `sample` does, for the gate; where the format has variants, that of this number."""
        return self.sample(example)

    def told(self, size: int) -> str:
        """Returns an input size in words: "96 px"."""
        return f"{size} {self.unit}"

    def card(self) -> dict[str, Any]:
        """Returns the entry of the model card: name, words, endings, and the input of `serving_default`."""
        name, spec = self.signature()
        shape = [None if side is None else int(side) for side in spec.shape]
        told = {"name": name, "dtype": spec.dtype.name, "shape": shape}
        return {"name": self.name, "one": self.one, "many": self.many, "endings": list(self.endings), "input": told}


def rows_at_once(effort: float, light: int, heavy: int) -> int:
    """Returns a batch size by `Modality.effort`: `light` for an effort up to 1, `heavy` above.

    The only place where the size of an input decides the size of a batch.
    """
    return light if effort <= 1 else heavy
