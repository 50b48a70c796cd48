"""Computes the outputs of a network for a whole split, batch by batch."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tf_transfer.data import batches
from tf_transfer.data.disk_arrays import release
from tf_transfer.machine.strategy import several_hosts
from tf_transfer.machine.traced import Traced


class Predictor:
    """Maps the inputs of a split to outputs, batch by batch, over all replicas.

    Args:
        function: a batch to `[B, K]`; compiled once.
        strategy: its replicas share each batch.
        size: examples a global batch, rounded up to a multiple of the replicas.
    """

    def __init__(self, function: Callable, strategy: tf.distribute.Strategy, size: int):
        self.strategy, replicas = strategy, strategy.num_replicas_in_sync
        self.size = -(-size // replicas) * replicas
        self._run = Traced(lambda x: strategy.run(function, args=(x,)))

    def __call__(self, inputs: np.ndarray, progress: Callable[[int, int, str], None] | None = None) -> np.ndarray:
        """Returns float32 `[N, K]` for N inputs, in their order."""
        return np.concatenate(list(self.stream(inputs, progress=progress)))

    def stream(
        self, inputs: np.ndarray, start: int = 0, progress: Callable[[int, int, str], None] | None = None
    ) -> Iterator[np.ndarray]:
        """Yields the outputs for the inputs from row `start` on, a batch at a time."""
        done = start
        for chunk, real in batches.in_order(inputs, self.size, start):
            outputs = self._run(self._shared(chunk))
            release(inputs)
            if several_hosts(self.strategy):
                yield self.strategy.gather(outputs, axis=0).numpy()[:real]
            else:
                parts = self.strategy.experimental_local_results(outputs)
                yield np.concatenate([p.numpy() for p in parts])[:real]
            done += real
            if progress:
                progress(done, len(inputs), "")

    def _shared(self, chunk):
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return tf.convert_to_tensor(chunk)
        share = self.size // replicas
        return self.strategy.experimental_distribute_values_from_function(
            lambda c: tf.convert_to_tensor(chunk[c.replica_id_in_sync_group * share :][:share])
        )
