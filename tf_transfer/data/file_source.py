"""A data set whose examples are files, the common part of folders and CSV files."""

import copy
from collections.abc import Callable

import numpy as np

from tf_transfer.data import class_names, likeness
from tf_transfer.data.contents import Keys
from tf_transfer.data.decoding import compact, decode_files, measure_files, printable
from tf_transfer.data.examples import Examples, Row
from tf_transfer.data.file_keys import FileKeys
from tf_transfer.data.splits import Split, carve_test, carved_note
from tf_transfer.errors import UserError, one_line

# Examples that are looked at for a note on all that are alike.
_LOOKED_AT = 32
CARVE = 2
"""Version of the way in which splits are taken out of files: 1 by their places in the list, 2 by their contents."""


class FileSource:
    """A data set whose examples are files; see `splits.Source`.

    The training rows give the class names, in Unicode order. Where the rows name no splits, or only
    `train`, a test split is taken from them; where they name only `train` and `validation`, validation
    is the test split.

    Attributes:
        carve: version of the way in which splits are taken, see `CARVE`.
    """

    def __init__(
        self,
        what: str,
        rows: list[Row],
        test_fraction: float,
        max_unreadable: int,
        notes: dict[str, list[str]],
        modality: Examples,
        carve: int = CARVE,
        progress: Callable[[int, int, str], None] | None = None,
        near_copies: int | None = None,
    ):
        """Sorts the rows into splits; reads the files, without decoding them, where a test split is to be taken.

        Args:
            what: name of the data set in errors.
            rows: every example, in any order.
            test_fraction: share of every class in a test split that is taken from the training rows.
            max_unreadable: how many files may be skipped, over all splits.
            notes: facts to report; `unreadable` is added when files are skipped.
            modality: of the files.
            carve: see `CARVE`; 1 for a run that began with it.
            progress: called while files are read for their digests, with those done, all, and a text.
            near_copies: number of bits up to which files count as copies, see `likeness`; None: equal files alone.

        Raises:
            UserError: there is no training example, one class only, two names of one class, a class that `train`
                lacks, or a number of bits out of range.
        """
        _check_groups(what, rows, carve, near_copies)
        rows = sorted(rows, key=lambda row: row.name)
        # A run that has ended with such classes is to be evaluated and exported still.
        if carve > 1:
            class_names.check({row.label for row in rows}, what)
        train = [row for row in rows if row.split in ("", "train")]
        names = sorted({row.label for row in train})
        if len(names) < 2:
            found = f"the one class {one_line(names[0])!r}" if names else f"no {modality.one}"
            raise UserError(f"{what}: expected training {modality.many} of at least 2 classes, found {found}.")
        index = {name: i for i, name in enumerate(names)}
        for row in rows:
            if row.label not in index:
                raise UserError(
                    f"{what}: the class {one_line(row.label)!r} of {row.split} {modality.one} {one_line(row.name)!r} "
                    f"has no training {modality.one}; add some to train or remove it from {row.split}."
                )
        self.class_names = tuple(printable(name) for name in names)
        self.notes, self.modality, self.carve = notes, modality.name, carve
        self._modality = modality
        self._max_unreadable = max_unreadable
        self._unreadable: dict[str, str] = {}
        self._remarks: dict[tuple[str, str], str] = {}
        self._keys = FileKeys(what, rows, modality, near_copies, progress)
        self.notes |= self._keys.notes
        self._rows = {"train": train} | {s: [row for row in rows if row.split == s] for s in ("validation", "test")}
        self._labels = {s: np.array([index[row.label] for row in part], np.int32) for s, part in self._rows.items()}
        self._complete(test_fraction)
        self._note_groups()
        self.splits = tuple(s for s in ("train", "validation", "test") if self._rows[s])
        self._notes_at_first = dict(self.notes)

    def again(self) -> "FileSource":
        """Returns the data set as it was opened; nothing is listed a second time."""
        fresh = copy.copy(self)
        fresh.notes, fresh._unreadable, fresh._remarks = dict(self._notes_at_first), {}, {}
        return fresh

    def _complete(self, test_fraction: float) -> None:
        if self._rows["test"]:
            return
        if self._rows["validation"]:
            self._rows["test"], self._labels["test"] = self._rows["validation"], self._labels["validation"]
            self._rows["validation"], self._labels["validation"] = [], self._labels["test"][:0]
            self.notes["splits"] = ["There is no test split: the validation split serves as one."]
            return
        rows, labels = self._rows["train"], self._labels["train"]
        carved = carve_test(labels, len(self.class_names), test_fraction, self.keys("train"))
        for split, chosen in zip(("train", "test"), carved, strict=True):
            self._rows[split], self._labels[split] = [rows[i] for i in chosen], labels[chosen]
        share = "about the same share of every class" if self.carve > 1 else "the same share of every class"
        self.notes["splits"] = [carved_note(len(self._rows["test"]), len(rows), share)]

    def _note_groups(self) -> None:
        """Notes groups that given splits divide."""
        if not any(row.group for row in self._rows["train"]):
            return
        sides = {split: {*self.keys(split).groups} for split in self._rows}
        first, second = sides["train"] | sides["validation"], sides["test"]
        if both := first & second:
            row = next(r for r, key in zip(self._rows["test"], self.keys("test").groups, strict=True) if key in both)
            self.notes["groups"] = [
                f"The splits of the data set divide {len(both)} of its {len(first | second)} groups, such as "
                f"{one_line(row.group)}: it is not tested on groups that are new."
            ]

    def keys(self, split: str) -> Keys | None:
        """Returns what decides on which side each example of a split comes; None where its place in the list does."""
        return self._keys.of(self._rows[split]) if self.carve > 1 else None

    def contents(self, split: str, indices: np.ndarray | None = None) -> dict[str, str]:
        """Returns the digest of each file of a split, or of the files at `indices`, with its name."""
        rows, digests = self._rows[split], self._keys.contents(self._rows[split])
        indices = range(len(rows)) if indices is None else indices
        # Backwards, so that of equal files the first gives the name.
        return {digests[i].hex(): printable(rows[i].name) for i in reversed(indices)}

    def conflicts(self) -> list[str]:
        """Names the examples of the test split whose content stands under another class too, in any split.

        Not for runs that began before contents were looked at, see `CARVE`.
        """
        if self.carve == 1:
            return []
        found: dict[bytes, dict[int, str]] = {}
        paths: dict[bytes, str] = {}
        for split in ("test", "train", "validation"):
            rows = self._rows[split]
            for digest, label, row in zip(self._keys.contents(rows), self._labels[split], rows, strict=True):
                if split == "test" or digest in found:
                    name = f"{split}: {one_line(row.name)} ({one_line(self.class_names[label])})"
                    found.setdefault(digest, {}).setdefault(int(label), name)
                    paths[digest] = row.path
        twofold = {digest: names for digest, names in found.items() if len(names) > 1}
        # Files that are left out, such as empty ones, contradict nothing.
        _, unreadable, *_ = measure_files([paths[digest] for digest in twofold], self._modality)
        return [" = ".join(names.values()) for i, names in enumerate(twofold.values()) if i not in unreadable]

    def labels(self, split: str) -> np.ndarray:
        """Returns the int32 `[N]` labels of a split; no file is opened."""
        return self._labels[split]

    def load(self, split: str, indices: np.ndarray | None = None, size: int | None = None) -> Split:
        """Decodes a split, or the examples of it at `indices`; see `splits.Source.load`.

        Unreadable files are left out, so the result may be shorter than `indices`.

        Raises:
            UserError: more files than allowed are unreadable, or the sizes differ and `size` is None.
        """
        indices = np.arange(len(self._rows[split])) if indices is None else np.asarray(indices)
        rows = [self._rows[split][i] for i in indices]
        sides, reasons, remarks = measure_files([row.path for row in rows], self._modality)
        readable = self._readable(split, rows, reasons)
        form = self._modality.stored(sides[readable], size)
        inputs, good = decode_files([rows[i].path for i in readable], form, self._modality)
        damaged = {int(readable[i]): "damaged or cut short" for i in np.flatnonzero(~good)}
        kept = self._readable(split, rows, reasons | damaged)
        inputs = compact(inputs, good)
        self._remark(split, [remarks.get(i, "") for i in kept], inputs)
        keys = self.keys(split)
        names = [printable(rows[i].name) for i in kept]
        return Split(inputs, self._labels[split][indices[kept]], names, keys and keys.take(indices[kept]))

    def _remark(self, split: str, remarks: list[str], inputs: np.ndarray) -> None:
        """Notes what is to be told of examples of a split, by the remarks on their files."""
        for remark in sorted(set(filter(None, remarks))):
            rows = [i for i, found in enumerate(remarks) if found == remark]
            self._remarks[split, remark] = self._modality.remarked(remark, len(rows), inputs[rows[:_LOOKED_AT]])
        if self._remarks:
            self.notes["stored"] = [f"{name}: {text}" for (name, _), text in sorted(self._remarks.items())]

    def _readable(self, split: str, rows: list[Row], reasons: dict[int, str]) -> np.ndarray:
        """Records the unreadable rows and returns the positions of the others."""
        self._unreadable |= {rows[i].name: reason for i, reason in reasons.items()}
        listed = [f"{one_line(name)} ({reason})" for name, reason in self._unreadable.items()]
        if len(listed) > self._max_unreadable:
            first = ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
            raise UserError(
                f"--max_unreadable={self._max_unreadable}, but {len(listed)} of the files cannot be read: {first}. "
                "Repair or remove them, or raise --max_unreadable."
            )
        if listed:
            self.notes["unreadable"] = listed
        if len(reasons) == len(rows):
            raise UserError(f"No {self._modality.one} of the {split} split can be read ({len(rows)} asked for).")
        return np.array([i for i in range(len(rows)) if i not in reasons])


def _check_groups(what: str, rows: list[Row], carve: int, near_copies: int | None) -> None:
    """Refuses groups that cannot be: near copies of no such number of bits, and groups in splits taken without them."""
    if near_copies is not None and (type(near_copies) is not int or not 0 <= near_copies <= likeness.MOST):
        raise UserError(
            f"{what}: near_copies: expected a whole number from 0 to {likeness.MOST}, got {one_line(near_copies)!r}."
        )
    if carve == 1 and (near_copies is not None or any(row.group for row in rows)):
        option = "--near_copies" if near_copies is not None else "--group_by"
        raise UserError(
            f"{what}: {option}: the splits of this run were taken before groups were known; use another "
            "--run_dir, or start it over with --restart."
        )
