"""Keeps features on disk, by a key of everything that determines them: a second head needs no second pass."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_transfer.data.disk_arrays import release, temporary
from tf_transfer.errors import UserError, one_line
from tf_transfer.run import atomic, lock

FEATURES, FACTS, PARTIAL = "features.f32", "facts.json", "features.partial"
OFF = "off"
# Facts that differ between versions; stores of before FEATURES_VERSION have `code`.
_OF_VERSION = frozenset({"features_version", "versions", "code"})
# Length of an array's name, in hex digits.
_NAME = 32


class FeatureStore:
    """A folder of feature arrays, one sub-folder each, named by the digest of the facts that determine it.

    An array is written to `features.partial` and renamed when it is complete; an interrupted one is continued. Where
    the store would exceed its limit, the arrays that were used longest ago are removed; other files in the folder are
    left alone.

    Args:
        folder: of the arrays, created when needed; None keeps nothing.
        limit: bytes that the store may take.
        warn: called with a line where features cannot be kept; None: a folder that fails is a `UserError`.
        say: called with a line, once, where arrays of another version are computed again; None: silent.
    """

    def __init__(
        self,
        folder: Path | None,
        limit: int,
        warn: Callable[[str], None] | None = None,
        say: Callable[[str], None] | None = None,
    ):
        self.folder, self.limit, self.warn, self.say = folder, limit, warn, say
        self._said = False

    def get(
        self, facts: Mapping[str, Any], shape: tuple[int, int], compute: Callable[[int], Iterator[np.ndarray]]
    ) -> tuple[np.ndarray, int]:
        """Returns an array; computes the rows that the store lacks.

        Args:
            facts: everything that determines the array, as plain JSON.
            shape: `(rows, columns)`.
            compute: given a row, yields the rows from it on, in order, a few at a time.

        Returns:
            Float32 array of `shape`, memory-mapped and read-only where it is large or kept; and the number of rows that
            the store had.

        Raises:
            UserError: the store cannot be written, and `warn` is None.
        """
        size = 4 * shape[0] * shape[1]
        if self.folder is None or size > self.limit:
            if self.folder is not None and self.warn:
                self.warn(f"{size / 1e9:.1f} GB of features are not kept: --feature_store_gb={self.limit / 1e9:g}.")
            return _fill(temporary(shape, np.float32), 0, compute), 0
        place = self.folder / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:_NAME]
        try:
            return self._kept(place, facts, shape, compute)
        except OSError as e:
            text = f"--feature_store={one_line(self.folder)!r} cannot be used: {e.strerror}"
            if self.warn is None:
                raise UserError(f"{text}. Give another folder, or off.") from e
            self.warn(f"{text}; the features are not kept.")
            return _fill(temporary(shape, np.float32), 0, compute), 0

    def _kept(self, place, facts, shape, compute) -> tuple[np.ndarray, int]:
        if (found := _whole(place, shape)) is not None:
            return found, shape[0]
        if self.say and not self._said and not place.exists() and self._outdated(facts):
            self._said = True
            self.say(
                f"features  another version of tf_transfer, TensorFlow or Keras made those in {one_line(self.folder)}: "
                "they are made anew"
            )
        place.mkdir(parents=True, exist_ok=True)
        self._make_room(4 * shape[0] * shape[1], place)
        try:
            file = (place / PARTIAL).open("ab", buffering=0)
        except PermissionError:
            # Another user of a shared store began this array; this command does without keeping it.
            return _fill(temporary(shape, np.float32), 0, compute), 0
        with file:
            if not lock.take(file.fileno()):
                # Another process computes this array; waiting for it could take longer than computing it here.
                return _fill(temporary(shape, np.float32), 0, compute), 0
            if (found := _whole(place, shape)) is not None:
                return found, shape[0]
            return self._write(place, file, facts, shape, compute)

    def _write(self, place, file, facts, shape, compute) -> tuple[np.ndarray, int]:
        row = 4 * shape[1]
        # A row that a crash cut off is written again.
        here = os.fstat(file.fileno()).st_size // row
        os.ftruncate(file.fileno(), here * row)
        for rows in compute(here) if here < shape[0] else ():
            file.write(np.ascontiguousarray(rows, np.float32).tobytes())
        os.fsync(file.fileno())
        (place / FACTS).write_text(json.dumps({"digest": atomic.digest(place / PARTIAL), **facts}, indent=1) + "\n")
        os.replace(place / PARTIAL, place / FEATURES)
        return np.memmap(place / FEATURES, np.float32, "r", shape=shape), here

    def _outdated(self, facts: Mapping[str, Any]) -> bool:
        """Says whether the store has the array of these facts from another version."""
        for path in self.folder.glob(f"*/{FACTS}"):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                other = json.loads(path.read_text())
                same = (facts.keys() & other.keys()) - _OF_VERSION
                differs = any(facts.get(k) != other.get(k) for k in _OF_VERSION)
                if same and differs and all(facts[k] == other[k] for k in same):
                    return True
        return False

    def _make_room(self, size: int, keep: Path) -> None:
        facts = {p: _age_and_size(p) for p in self.folder.iterdir() if p != keep and _is_ours(p)}
        sizes = {place: size for place, (_, size) in facts.items()}
        for place in sorted(sizes, key=facts.get):
            if sum(sizes.values()) + size <= self.limit:
                return
            if not _at_work(place):
                # Removing an array does not disturb its readers: the memory map keeps the file until they close it.
                shutil.rmtree(place, ignore_errors=True)
            del sizes[place]


def _is_ours(place: Path) -> bool:
    """Says whether a folder is an array of the store: its name is a digest, and it holds only files of the store."""
    try:
        digest = len(place.name) == _NAME and set(place.name) <= set("0123456789abcdef")
        return digest and {f.name for f in place.iterdir()} <= {FEATURES, FACTS, PARTIAL}
    except OSError:
        return False


def _age_and_size(place: Path) -> tuple[float, int]:
    """Returns when an array was last used, and its bytes; zeros where another process has just removed it."""
    try:
        return place.stat().st_mtime, sum(f.stat().st_size for f in place.iterdir())
    except OSError:
        return 0.0, 0


def _at_work(place: Path) -> bool:
    try:
        with (place / PARTIAL).open("rb") as file:
            return not lock.take(file.fileno())
    except OSError:
        return False


def _whole(place: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Returns a complete array, marked as used now where permissions allow; None where it is missing or damaged."""
    try:
        if (place / FEATURES).stat().st_size != 4 * shape[0] * shape[1]:
            return None
        if json.loads((place / FACTS).read_text())["digest"] != atomic.digest(place / FEATURES):
            return None
        found = np.memmap(place / FEATURES, np.float32, "r", shape=shape)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(place)
    return found


def _fill(array: np.ndarray, start: int, compute: Callable[[int], Iterator[np.ndarray]]) -> np.ndarray:
    for rows in compute(start):
        array[start : start + len(rows)] = rows
        start += len(rows)
        release(array)
    return array
