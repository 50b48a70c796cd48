"""The contract of a data set, and how it is divided into train, validation and test."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from tf_transfer.data import holdout
from tf_transfer.data.contents import Keys
from tf_transfer.data.disk_arrays import release
from tf_transfer.errors import UserError, one_line

TEST_SEED = 0x7E57
# Inputs that are read at a time to compute their digests.
_DIGEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Split:
    """One split in memory (or memory-mapped), random access by example.

    Attributes:
        inputs: stored examples `[N, ...]`, such as uint8 `[N, H, W, 3]`, or float32 `[N, D]` features.
        labels: int32 `[N]`, indices into the class names; None where training must not read them.
        names: one printable name an example (a path, or `cifar10/train#12`).
        keys: what decides on which side of a split each example comes; None where its place in the data set does.
    """

    inputs: np.ndarray
    labels: np.ndarray | None
    names: Sequence[str]
    keys: Keys | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @cached_property
    def digests(self) -> list[bytes]:
        """A 16-byte digest of every example's inputs."""
        found, chunk = [], max(1, _DIGEST_BYTES // max(1, self.inputs[:1].nbytes))
        for start in range(0, len(self.inputs), chunk):
            rows = np.ascontiguousarray(self.inputs[start : start + chunk])
            found += [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
            release(self.inputs)
        return found

    @property
    def fingerprint(self) -> str:
        """A digest of all inputs in their order, in hexadecimal digits."""
        return hashlib.blake2b(b"".join(self.digests), digest_size=16).hexdigest()

    @property
    def listing(self) -> str:
        """A digest of all names and labels in their order: the same for examples brought to another size."""
        text = json.dumps([[str(name) for name in self.names], None if self.labels is None else self.labels.tolist()])
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    @property
    def unlabelled(self) -> "Split":
        """The same examples without their labels: what a method is given that must not read them."""
        return Split(self.inputs, None, self.names, self.keys)

    def take(self, indices: np.ndarray) -> "Split":
        """Returns the examples at `indices`, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        keys = None if self.keys is None else self.keys.take(indices)
        return Split(self.inputs[indices], labels, [self.names[i] for i in indices], keys)


class Source(Protocol):
    """A data set that can be opened: class names first, labels next, inputs when asked for.

    Attributes:
        class_names: the classes, in label order.
        splits: names of the splits it has, out of `train`, `validation`, `test`; `train` always.
        notes: facts worth reporting, such as unreadable files that were skipped (filled by `load`).
        modality: name of the modality of its examples, such as `image`.
    """

    modality: str
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    notes: dict[str, list[str]]

    def again(self) -> "Source":
        """Returns the data set as newly opened: the same splits, no notes about reading, no examples in memory."""

    def labels(self, split: str) -> np.ndarray:
        """Returns the int32 `[N]` labels of a split, if possible without decoding its examples."""

    def load(self, split: str, indices: np.ndarray | None = None, size: int | None = None) -> Split:
        """Decodes a split, or the examples of it at `indices`.

        Examples are brought to one stored form, see `examples.Examples`: examples of one common size up to `size` keep
        it; others are resized by the operation of the model's preprocessing, so that the model computes the same from
        a stored example and from a raw one.
        """


@dataclass(frozen=True)
class SplitPlan:
    """Which examples of the source's `train` split train and which validate.

    Attributes:
        train: indices into the source's `train` split, ascending.
        validation: the same, or None when the source brings a validation split of its own.
        facts: for the record: sizes, seed, digest of the indices.
    """

    train: np.ndarray
    validation: np.ndarray | None
    facts: dict = field(default_factory=dict)


def plan_splits(
    labels: np.ndarray,
    num_classes: int,
    validation_fraction: float,
    seed: int,
    per_class: int | None = None,
    own_validation: bool = False,
    class_names: Sequence[str] = (),
    keys: Keys | None = None,
) -> SplitPlan:
    """Takes a stratified, seeded validation split from the training labels.

    Args:
        labels: int `[N]` labels of the source's `train` split.
        num_classes: number of classes, at least 2.
        validation_fraction: share of every class that validates, in (0, 0.9]; a class of two or more
            examples gives at least one and keeps at least one.
        seed: the choice is a pure function of (labels, fraction, seed, per_class, keys).
        per_class: few-shot budget: this many labelled examples a class, validation included.
        own_validation: the source has a validation split, so none is taken.
        class_names: of the classes, for messages.
        keys: of the examples: each is placed by its own key, see `holdout`; None: by its place among the labels.

    Raises:
        UserError: fewer than two classes present, or a class with too few examples.
    """
    present = np.unique(labels)
    if num_classes < 2 or len(present) < 2:
        raise UserError(f"The training data has {len(present)} class; a classifier needs at least 2. Check --dataset.")
    for label, count in enumerate(np.bincount(labels, minlength=num_classes)) if per_class is not None else ():
        if 0 < count < per_class:
            name = repr(one_line(class_names[label], 60)) if class_names else label
            raise UserError(f"--examples_per_class={per_class}: class {name} has only {count} training examples.")
    fraction = 0.0 if own_validation else validation_fraction
    if keys is None:
        train, validation = _drawn(labels, num_classes, fraction, seed, per_class)
    else:
        train, validation = _placed(labels, keys, fraction, seed, per_class)
    digest = _digest_of(train, validation, labels, keys)
    facts = {"train": len(train), "validation": len(validation), "seed": seed, "digest": digest}
    return SplitPlan(train, None if own_validation else validation, facts)


def _drawn(
    labels: np.ndarray, num_classes: int, fraction: float, seed: int, per_class: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the same share of every class from its rows; returns what trains and what validates, ascending."""
    train, validation = [], []
    for label in range(num_classes):
        rows = np.flatnonzero(labels == label)
        rows = np.random.default_rng((seed, label, 0x5917)).permutation(rows)[:per_class]
        held = max(min(max(1, round(fraction * len(rows))), len(rows) - 1), 0) if fraction else 0
        validation.append(rows[:held])
        train.append(rows[held:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def _placed(
    labels: np.ndarray, keys: Keys, fraction: float, seed: int, per_class: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Places every example by its key; returns what trains and what validates, ascending."""
    rows = np.arange(len(labels)) if per_class is None else holdout.few(labels, keys, per_class, seed)
    if not fraction:
        return rows, rows[:0]
    few_shot = per_class is not None and not keys.groups
    choose = holdout.balanced if keys.groups else holdout.ranked if few_shot else holdout.apart
    # By the places that chose the few, so that what comes later drives examples out of validation, never into it.
    use = holdout.FEW_SHOT if few_shot else holdout.VALIDATION
    held = choose(labels[rows], keys.take(rows), fraction, use, seed)
    return rows[~held], rows[held]


def _digest_of(train: np.ndarray, validation: np.ndarray, labels: np.ndarray, keys: Keys | None) -> str:
    """Returns a digest of what trains and what validates, in this order: of the contents where they are known."""
    if keys is None:
        rows = np.concatenate([train, [-1], validation]).astype("<i8").tobytes()
        return hashlib.sha256(rows).hexdigest()[:16]
    rows = np.concatenate([train, validation])
    parts = [len(train).to_bytes(8, "little"), labels[rows].astype("<i4").tobytes(), *(keys.contents[i] for i in rows)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def carve_test(
    labels: np.ndarray, num_classes: int, fraction: float, keys: Keys | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Takes a stratified test split where a data set brings none.

    The choice is a pure function of (labels, fraction, keys), so that every run tests on the same examples,
    whatever its seed. With keys a data set that grows keeps its test examples, see `holdout`.

    Returns:
        The rows for training and the rows of the test split, both ascending.

    Raises:
        UserError: the fraction is not in (0, 0.9], or fewer than two classes are present.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction <= 0.9:
        raise UserError(f"test_fraction: expected a number above 0 and up to 0.9, got {one_line(fraction)!r}.")
    if keys is not None:
        choose = holdout.balanced if keys.groups else holdout.apart
        held = choose(labels, keys, fraction, holdout.TEST, TEST_SEED)
        return np.flatnonzero(~held), np.flatnonzero(held)
    plan = plan_splits(labels, num_classes, fraction, TEST_SEED)
    return plan.train, plan.validation


def carved_note(test: int, total: int, share: str = "the same share of every class") -> str:
    """Returns the note about a test split that `carve_test` made."""
    return f"There is no test split: {test} of {total} examples, {share}, were set aside as one."


def class_weights(labels: np.ndarray, num_classes: int, mode: str) -> np.ndarray:
    """Returns float32 `[num_classes]` weights, averaging 1 over the examples.

    `balanced` weighs class c by N / (C * N_c), as scikit-learn's `class_weight="balanced"`;
    a class without examples gets 0. `none` and `adjusted`, see `class_offsets`, weigh every class 1.
    """
    if mode != "balanced":
        return np.ones(num_classes, np.float32)
    counts = np.bincount(labels, minlength=num_classes)
    present = np.count_nonzero(counts)
    return np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 0).astype(np.float32)


def class_offsets(labels: np.ndarray, num_classes: int, mode: str) -> np.ndarray | None:
    """Returns what training adds to the logits: log(N_c / N) for `adjusted`, float32 `[num_classes]`, else None.

    The loss of `logits + offsets` makes the logits those of equally frequent classes (logit adjustment, Menon et al.
    2021, arXiv:2007.07314). Unlike weights, it also moves a network that fits its training examples without an error.
    A class without examples counts as if it had one.
    """
    if mode != "adjusted":
        return None
    counts = np.maximum(np.bincount(labels, minlength=num_classes), 1)
    return np.log(counts / len(labels)).astype(np.float32)


def find_conflicts(parts: dict[str, Split], class_names: Sequence[str]) -> list[str]:
    """Finds equal examples that stand under two classes, within a split or across splits.

    Args:
        parts: labelled splits by name.
        class_names: of the classes.

    Returns:
        One text `split: name (class) = split: name (class)` for each example that contradicts an earlier one.
    """
    seen: dict[bytes, tuple[int, str]] = {}
    texts = []
    for part, split in parts.items():
        for digest, label, name in zip(split.digests, split.labels, split.names, strict=True):
            first = seen.setdefault(digest, (label, name := f"{part}: {one_line(name)}"))
            if first[0] != label:
                pair = (f"{n} ({one_line(class_names[c])})" for c, n in (first, (label, name)))
                texts.append(" = ".join(pair))
    return texts


def find_duplicates(parts: dict[str, Split], seen: dict[bytes, tuple[str, str]] | None = None) -> list[str]:
    """Finds equal examples in two different splits.

    Args:
        parts: splits by name.
        seen: digest to (split, name) of examples already known; the new ones are added to it.

    Returns:
        One text `first = second` for each duplicate, both printable as `split: name`.
    """
    seen = {} if seen is None else seen
    pairs = []
    for part, split in parts.items():
        for digest, name in zip(split.digests, split.names, strict=True):
            first = seen.setdefault(digest, (part, str(name)))
            if first[0] != part:
                pairs.append(f"{first[0]}: {one_line(first[1])} = {part}: {one_line(name)}")
    return pairs
