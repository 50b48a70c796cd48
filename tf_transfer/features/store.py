"""Features on disk, under everything that determines them: a second head begins where the first one's pass ended."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_transfer.data.arrays import release, temporary
from tf_transfer.errors import UserError, one_line

FEATURES, FACTS, PARTIAL = "features.f32", "facts.json", "features.partial"
OFF = "off"
# Rows between two looks at how much is safely written.
_SYNC_ROWS = 2048


def default_folder() -> Path:
    """Returns the user's cache folder: `$XDG_CACHE_HOME/tf_transfer/features`, by default below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tf_transfer" / "features"


class FeatureStore:
    """A folder of feature arrays, one sub-folder each, named by the digest of the facts that determine it.

    An array is written to `features.partial` and renamed when it is whole; an interrupted one is gone on with. Where
    the store would grow above its limit, the arrays that have not been used for longest go first.

    Args:
        folder: where; made when needed. None keeps nothing.
        limit: bytes that the store may take.
    """

    def __init__(self, folder: Path | None, limit: int):
        self.folder, self.limit = folder, limit

    def get(
        self, facts: Mapping[str, Any], shape: tuple[int, int], compute: Callable[[int], Iterator[np.ndarray]]
    ) -> tuple[np.ndarray, int]:
        """Returns an array, computed as far as it is not here yet.

        Args:
            facts: everything that determines the array, as plain JSON.
            shape: `(rows, columns)`.
            compute: yields the rows from the one it is given, in order, a few at a time.

        Returns:
            float32 of `shape`, memory-mapped and read-only where it is large or kept; and how many rows were here.

        Raises:
            UserError: the store cannot be written.
        """
        size = 4 * shape[0] * shape[1]
        if self.folder is None or size > self.limit:
            return _fill(temporary(shape, np.float32), 0, compute), 0
        place = self.folder / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        try:
            if _is_whole(place, size):
                os.utime(place)
                return np.memmap(place / FEATURES, np.float32, "r", shape=shape), shape[0]
            place.mkdir(parents=True, exist_ok=True)
            self._make_room(size, place)
            with (place / PARTIAL).open("ab") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    # Another process is at it; waiting could take longer than doing it again.
                    return _fill(temporary(shape, np.float32), 0, compute), 0
                return self._write(place, file, facts, shape, compute)
        except OSError as e:
            raise UserError(
                f"--feature_store={one_line(self.folder)!r} cannot be written: {e.strerror}. Give another, or off."
            ) from e

    def _write(self, place, file, facts, shape, compute) -> tuple[np.ndarray, int]:
        row = 4 * shape[1]
        # What a crash cut off in the middle of a row is written again.
        here = os.fstat(file.fileno()).st_size // row
        os.ftruncate(file.fileno(), here * row)
        waiting = 0
        for rows in compute(here) if here < shape[0] else ():
            file.write(np.ascontiguousarray(rows, np.float32).tobytes())
            waiting += len(rows)
            if waiting >= _SYNC_ROWS:
                file.flush()
                waiting = 0
        file.flush()
        os.fsync(file.fileno())
        (place / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        os.replace(place / PARTIAL, place / FEATURES)
        return np.memmap(place / FEATURES, np.float32, "r", shape=shape), here

    def _make_room(self, size: int, keep: Path) -> None:
        places = sorted((p for p in self.folder.iterdir() if p.is_dir() and p != keep), key=lambda p: p.stat().st_mtime)
        sizes = {p: sum(f.stat().st_size for f in p.iterdir()) for p in places}
        for place in places:
            if sum(sizes.values()) + size <= self.limit:
                return
            # An array in use stays readable: its mapping outlives its name.
            shutil.rmtree(place, ignore_errors=True)
            del sizes[place]


def _is_whole(place: Path, size: int) -> bool:
    try:
        return (place / FEATURES).stat().st_size == size
    except FileNotFoundError:
        return False


def _fill(array: np.ndarray, start: int, compute: Callable[[int], Iterator[np.ndarray]]) -> np.ndarray:
    for rows in compute(start):
        array[start : start + len(rows)] = rows
        start += len(rows)
        release(array)
    return array
