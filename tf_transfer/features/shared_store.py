"""The feature store of a run on several hosts: the chief's, by which all decide what is computed."""

import collections
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_transfer.data.disk_arrays import temporary
from tf_transfer.features.store import FeatureStore
from tf_transfer.machine.strategy import from_chief, is_chief

# Rows that are sent at a time.
_ROWS = 4096


class SharedStore:
    """A store with the `get` of a `FeatureStore`, called by all workers at once.

    All compute the rows that the chief's store lacks, each its share of every batch; the others get from the chief what
    it has. The chief says where each pass begins, and with the number of rows that there is none to come: its store may
    begin again when its disk is full.

    Args:
        store: the chief's is used, those of the others are not.
        strategy: of several hosts.
    """

    def __init__(self, store: FeatureStore, strategy: tf.distribute.Strategy):
        self.store, self.strategy = store, strategy

    def get(
        self, facts: Mapping[str, Any], shape: tuple[int, int], compute: Callable[[int], Iterator[np.ndarray]]
    ) -> tuple[np.ndarray, int]:
        """Returns an array, computed as far as the chief's store lacks it; see `FeatureStore.get`."""
        if is_chief(self.strategy):
            made, here, begun = self._as_chief(facts, shape, compute)
        else:
            made, here, begun = self._as_another(shape, compute)
        # What lies before every pass was in the chief's store.
        for first in range(0, begun, _ROWS):
            part = slice(first, min(first + _ROWS, begun))
            rows = from_chief(self.strategy, np.asarray(made[part]))
            if not is_chief(self.strategy):
                made[part] = rows
        return made, here

    def _announced(self, row: int) -> int:
        """Returns the row that the chief says, to all."""
        return int(from_chief(self.strategy, np.array([row], np.int64))[0])

    def _as_chief(self, facts, shape, compute) -> tuple[np.ndarray, int, int]:
        begun = [shape[0]]

        def announcing(row: int) -> Iterator[np.ndarray]:
            """Computes as `compute`, having told the others from where."""
            begun.append(self._announced(row))
            passing = compute(row)
            try:
                for rows in passing:  # noqa: UP028, as `yield from` would close what the others go on with
                    yield rows
            finally:
                # The others are in the midst of it, whatever became of what was made here.
                collections.deque(passing, maxlen=0)

        made, here = self.store.get(facts, shape, announcing)
        self._announced(shape[0])
        return made, here, min(begun)

    def _as_another(self, shape, compute) -> tuple[np.ndarray, int, int]:
        made, begun = temporary(shape, np.float32), [shape[0]]
        while (row := self._announced(0)) < shape[0]:
            begun.append(row)
            for rows in compute(row):
                made[row : row + len(rows)] = rows
                row += len(rows)
        return made, 0, min(begun)
