"""Reads a prepared TFDS data set: one pass over its records for the labels, one for the examples."""

import copy
import io
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_transfer.data import tfds_labels
from tf_transfer.data.decoding import batch_size
from tf_transfer.data.disk_arrays import MEMORY_LIMIT, release, temporary
from tf_transfer.data.examples import Examples, Stored
from tf_transfer.data.splits import Split, carve_test, carved_note
from tf_transfer.data.tfds_directory import import_tfds, prepared_directory, quiet
from tf_transfer.errors import UserError, one_line

if TYPE_CHECKING:
    import tensorflow as tf

_READ = 512
"""Number of records that are read and parsed at a time."""


def open_tfds(
    name: str,
    label: str | None = None,
    example: str | None = None,
    test_fraction: float = 0.2,
    split: str | None = None,
    *,
    image: str | None = None,
    modality: Examples,
    data_dir: str | None = None,
    known: Iterable[str] = (),
) -> "TfdsSource":
    """Opens a TFDS data set by its name, e.g. `cifar10` or `imagenet_resized/32x32`.

    Args:
        name: TFDS name, perhaps with a config and a version.
        label: feature that holds the class, where there are several; whole numbers and texts are taken too.
        example: feature that holds the example, where there are several.
        test_fraction: share of every class that becomes the test split where there is none.
        split: the split that trains, if it is not `train`.
        image: the older name of `example`.
        modality: of the examples.
        data_dir: where TFDS keeps its data sets; None is `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
        known: further names to list where `name` is unknown.

    Raises:
        UserError: it cannot be found or prepared, or has no labelled examples of the modality.
    """
    directory = prepared_directory(name, data_dir, known)
    try:
        with quiet():
            builder = import_tfds().builder_from_directory(directory)
    except Exception as e:  # On a damaged description TFDS, protobuf and json raise various errors.
        raise UserError(f"The data set in {one_line(directory)} is damaged, prepare it again: {one_line(e)}") from e
    return TfdsSource(builder, str(name), label, example or image, test_fraction, modality, split)


class TfdsSource:
    """A data set that TFDS prepared; see `splits.Source`.

    A split without labels (all -1) counts as absent. Without a test split the validation split
    serves as one; without either, one is taken from `train`. A whole split that fits in memory is
    kept once read, so that its training and validation parts cost one pass.
    """

    def __init__(
        self,
        builder: Any,
        name: str,
        label: str | None,
        example: str | None,
        test_fraction: float,
        modality: Examples,
        split: str | None = None,
    ):
        """Finds the features and the splits.

        Raises:
            UserError: no example or class feature, or several; no labelled split to train on.
        """
        tfds = import_tfds()
        features, supervised = builder.info.features, builder.info.supervised_keys or ()
        self._builder, self._name, self._modality, self.modality = builder, name, modality, modality.name
        self._what = f"tfds(name={name})"
        if modality.tfds_feature is None:
            raise UserError(f"tfds(name={name}): no TFDS feature holds {modality.many}; use a folder or a CSV.")
        kind = getattr(tfds.features, modality.tfds_feature)
        holders = [key for key, feature in features.items() if type(feature) is kind]
        self._example = _feature(name, features, holders, kind.__name__, "example", example, supervised)
        holders = tfds_labels.candidates(features, label)
        self._label = _feature(name, features, holders, tfds_labels.LABELS, "label", label, supervised)
        if (written := builder.info.file_format.value) != "tfrecord":
            raise UserError(f"tfds(name={name}): expected files of format tfrecord, found {written}; prepare it again.")
        dtype = np.dtype(features[self._example].np_dtype)
        # Decoding brings an unsigned type to another one; the notes say so.
        if dtype != np.dtype(modality.dtype) and (dtype.kind, np.dtype(modality.dtype).kind) != ("u", "u"):
            expected = f"{np.dtype(modality.dtype)} {modality.many}"
            raise UserError(f"tfds(name={name}): expected {expected}, {self._example!r} is {dtype}.")
        self.class_names = tuple(one_line(c) for c in getattr(features[self._label], "names", None) or ())
        self.notes: dict[str, list[str]] = {}
        if dtype != np.dtype(modality.dtype):
            scaled = f"{modality.many} are {dtype}, scaled from its whole range to that of {np.dtype(modality.dtype)}"
            self.notes["depth"] = [f"The {scaled}."]
        self._distinct: np.ndarray | None = None
        self._all_labels: dict[str, np.ndarray] = {}
        self._known_sides: dict[str, np.ndarray] = {}
        self._whole: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}
        self._parts = self._find_splits(test_fraction, str(split or "train"))
        self.splits = tuple(self._parts)

    def again(self) -> "TfdsSource":
        """Returns the data set as newly opened; keeps labels that were read, drops decoded examples."""
        fresh = copy.copy(self)
        fresh._whole = {}
        return fresh

    def _find_splits(self, test_fraction: float, training: str) -> dict[str, tuple[str, np.ndarray]]:
        """Returns, for each split, the TFDS split it comes from and the examples of that split."""
        sizes = {name: info.num_examples for name, info in self._builder.info.splits.items()}
        origins = {"train": training} | {s: s for s in ("validation", "test") if s != training}
        usable = {s: origin for s, origin in origins.items() if sizes.get(origin) and self._is_labelled(origin)}
        found = {s: (origin, np.arange(sizes[origin])) for s, origin in usable.items()}
        if "train" not in found:
            raise UserError(
                f"tfds(name={self._name}): expected a labelled split {one_line(training)}, found {', '.join(sizes)}; "
                "say with split= which one trains."
            )
        self._name_classes(training)
        if "test" not in found and "validation" in found:
            self.notes["splits"] = ["There is no test split: the validation split serves as one."]
            return {"train": found["train"], "test": found["validation"]}
        if "test" not in found:
            train, test = carve_test(self._read_labels(training), len(self.class_names), test_fraction)
            self.notes["splits"] = [carved_note(len(test), sizes[training])]
            return {"train": (training, train), "test": (training, test)}
        return found

    def _name_classes(self, training: str) -> None:
        """Takes the values of the training labels for the classes where the feature does not name them."""
        if not self.class_names:
            values = self._raw_labels(training)
            self._distinct = tfds_labels.classes(values, self._what, self._label)
            self.class_names = tfds_labels.names(self._distinct)

    def labels(self, split: str) -> np.ndarray:
        """Returns the int32 `[N]` labels of a split; no example is decoded."""
        origin, rows = self._parts[split]
        return self._read_labels(origin)[rows]

    def load(self, split: str, indices: np.ndarray | None = None, size: int | None = None) -> Split:
        """Decodes a split, or the examples of it at `indices`; see `splits.Source.load`.

        Raises:
            UserError: a record is damaged, or the sizes differ and `size` is None.
        """
        origin, rows = self._parts[split]
        rows = rows if indices is None else rows[indices]
        names = [f"{self._name}/{origin}#{row}" for row in rows]
        return Split(self._examples(origin, rows, size), self._read_labels(origin)[rows], names)

    def _is_labelled(self, origin: str) -> bool:
        """Says whether a split has labels, by its first examples: some test splits are published with labels -1."""
        first = next(self._iterate(origin, self._records(origin, self._label)), np.zeros(0))
        return tfds_labels.are_there(first, self._builder.info.features[self._label])

    def _read_labels(self, origin: str) -> np.ndarray:
        if origin not in self._all_labels:
            labels = self._raw_labels(origin)
            if self._distinct is not None:
                labels = tfds_labels.indices(labels, self._distinct, self._what, origin)
            self._all_labels[origin] = labels.astype(np.int32)
        return self._all_labels[origin]

    def _raw_labels(self, origin: str) -> np.ndarray:
        """Reads the labels of a split as the records hold them."""
        batches = list(self._iterate(origin, self._records(origin, self._label)))
        labels = np.concatenate(batches) if batches else np.zeros(0, np.int64)
        self._check_count(origin, len(labels), self._builder.info.splits[origin].num_examples)
        return labels

    def _examples(self, origin: str, rows: np.ndarray, size: int | None) -> np.ndarray:
        total = self._builder.info.splits[origin].num_examples
        form = self._modality.stored(self._sides(origin), size)
        shape = form.shape
        fits = math.prod((total, *shape)) * np.dtype(form.dtype).itemsize <= MEMORY_LIMIT
        if fits and len(rows) > total // 2 and (origin, shape) not in self._whole:
            whole = self._decode(origin, np.arange(total), form)
            whole.flags.writeable = False  # Shared by every caller.
            self._whole[origin, shape] = whole
        if (origin, shape) not in self._whole:
            once, places = np.unique(rows, return_inverse=True)
            inputs = self._decode(origin, once, form)
            return inputs if np.array_equal(once, rows) else inputs[places]
        whole = self._whole[origin, shape]
        return whole if np.array_equal(rows, np.arange(total)) else whole[rows]

    def _sides(self, origin: str) -> np.ndarray:
        """Returns sides of the examples, `[K, R]`: one row where all are equal, else two that differ."""
        declared = self._builder.info.features[self._example].shape[:2]
        if None not in declared:
            return np.array([declared])
        if origin in self._known_sides:
            return self._known_sides[origin]
        sides: list = []
        for content in self._iterate(origin, self._records(origin, self._example).unbatch()):
            answer = self._modality.measure(io.BytesIO(content))
            if isinstance(answer, str):
                raise self._damaged(origin, f"a {self._modality.one}: {answer}")
            sides = sides if answer in sides else [*sides, answer]
            if len(sides) == 2:
                break
        self._known_sides[origin] = np.array(sides)
        return self._known_sides[origin]

    def _decode(self, origin: str, rows: np.ndarray, form: Stored) -> np.ndarray:
        """Decodes the examples at ascending `rows` into one array, a few batches at a time."""
        import tensorflow as tf

        def decode(content: tf.Tensor) -> tf.Tensor:
            return self._modality.fit(self._modality.decode(content), form)

        wanted = np.zeros(self._builder.info.splits[origin].num_examples, bool)
        wanted[rows] = True
        flags = tf.data.Dataset.from_tensor_slices(wanted).batch(_READ)
        contents = tf.data.Dataset.zip(self._records(origin, self._example), flags).map(tf.boolean_mask).unbatch()
        decoded = contents.map(decode, tf.data.AUTOTUNE).batch(batch_size(form)).prefetch(2)
        inputs, filled = temporary((len(rows), *form.shape), form.dtype), 0
        for batch in self._iterate(origin, decoded):
            inputs[filled : filled + len(batch)] = batch
            filled += len(batch)
            release(inputs)
        self._check_count(origin, filled, len(rows))
        return inputs

    def _records(self, origin: str, feature: str) -> "tf.data.Dataset":
        """Returns batches of one feature, in the order of the files; examples are still encoded.

        TFDS's own reader reads record by record, which takes 20 times as long, as long as decoding small
        examples.
        """
        import tensorflow as tf

        files = [str(path) for path in self._builder.info.splits[origin].filepaths]
        is_bytes = feature == self._example or tfds_labels.is_text(self._builder.info.features[feature])
        wanted = {feature: tf.io.FixedLenFeature((), tf.string if is_bytes else tf.int64)}
        batches = tf.data.TFRecordDataset(files).batch(_READ)
        return batches.map(lambda records: tf.io.parse_example(records, wanted)[feature], tf.data.AUTOTUNE)

    def _iterate(self, origin: str, dataset: "tf.data.Dataset") -> Iterator[np.ndarray]:
        import tensorflow as tf

        try:
            yield from dataset.as_numpy_iterator()
        except tf.errors.OpError as e:
            raise self._damaged(origin, str(e).rpartition("}}")[2]) from e

    def _check_count(self, origin: str, found: int, expected: int) -> None:
        if found != expected:
            raise self._damaged(origin, f"{found} records, expected {expected}")

    def _damaged(self, origin: str, reason: object) -> UserError:
        where = one_line(self._builder.data_path)
        return UserError(f"The split {origin} in {where} is damaged, prepare it again: {one_line(reason)}")


def _feature(
    name: str, features: Any, fitting: list[str], kind: str, argument: str, asked: str | None, supervised: tuple
) -> str:
    """Returns one of the fitting features: the given one, the only one, or the supervised pair's."""
    chosen = [key for key in fitting if key == asked] if asked else fitting
    if len(chosen) > 1:
        chosen = [key for key in chosen if key in supervised]
    if len(chosen) != 1:
        listed = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in sorted(features.items()))
        expected = f"{one_line(asked)!r} to be one" if asked else "one"
        raise UserError(f"tfds(name={name}): {argument}=... expects {expected} {kind} feature of: {listed}.")
    return chosen[0]
