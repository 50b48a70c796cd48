"""The feature store of a run on several hosts: the chief has the files, and all workers compute what they lack."""

import collections
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_transfer.data.disk_arrays import temporary
from tf_transfer.features.store import FeatureStore
from tf_transfer.machine.strategy import from_chief, is_chief

# Rows that the chief sends at a time.
_ROWS = 4096


class SharedStore:
    """A store with the `get` of a `FeatureStore`, which all workers call together.

    1. The chief announces the row from which a pass computes. 2. All workers compute the rows from there on, each its
    share of every batch. 3. The chief's store may begin another pass, such as when its disk is full; it announces the
    number of rows when no pass follows. 4. The chief sends the rows that its store had before.

    Args:
        store: a store on this host; only the chief's is used.
        strategy: of several hosts.
    """

    def __init__(self, store: FeatureStore, strategy: tf.distribute.Strategy):
        self.store, self.strategy = store, strategy

    def get(
        self, facts: Mapping[str, Any], shape: tuple[int, int], compute: Callable[[int], Iterator[np.ndarray]]
    ) -> tuple[np.ndarray, int]:
        """Returns an array; all workers compute the rows that the chief's store lacks. See `FeatureStore.get`."""
        if is_chief(self.strategy):
            made, here, begun = self._as_chief(facts, shape, compute)
        else:
            made, here, begun = self._as_another(shape, compute)
        # Rows before the earliest pass were in the chief's store: it sends them.
        for first in range(0, begun, _ROWS):
            part = slice(first, min(first + _ROWS, begun))
            rows = from_chief(self.strategy, np.asarray(made[part]))
            if not is_chief(self.strategy):
                made[part] = rows
        return made, here

    def _announced(self, row: int) -> int:
        """Returns, on every worker, the row that the chief passes here."""
        return int(from_chief(self.strategy, np.array([row], np.int64))[0])

    def _as_chief(self, facts, shape, compute) -> tuple[np.ndarray, int, int]:
        begun = [shape[0]]

        def announcing(row: int) -> Iterator[np.ndarray]:
            """Announces the row to the other workers, then computes as `compute` does."""
            begun.append(self._announced(row))
            passing = compute(row)
            try:
                for rows in passing:  # noqa: UP028, `yield from` would close `passing`, which the others still compute
                    yield rows
            finally:
                # The other workers compute the whole pass: take part to its end, even after an error of the store.
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
