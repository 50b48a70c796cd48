"""Computes the outputs of a network for a whole split, batch by batch."""

import contextlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tf_transfer.data import batches
from tf_transfer.data.disk_arrays import release
from tf_transfer.machine import xla
from tf_transfer.machine.strategy import several_hosts
from tf_transfer.machine.traced import Traced

FORWARD = "forward pass"
"""Name of the trial of a frozen network, see `machine.xla`: what was measured of one pass holds for the others."""


class Predictor:
    """Maps the inputs of a split to outputs, batch by batch, over all replicas.

    Args:
        function: a batch to `[B, K]`; compiled once.
        strategy: its replicas share each batch.
        size: examples a global batch, rounded up to a multiple of the replicas.
        trial: decides whether the function is compiled by XLA; None: as it is.
    """

    def __init__(self, function: Callable, strategy: tf.distribute.Strategy, size: int, trial: xla.Trial | None = None):
        self.strategy, replicas = strategy, strategy.num_replicas_in_sync
        self.size = -(-size // replicas) * replicas
        self.trial = trial
        self._function = lambda x: strategy.run(function, args=(x,))
        self._run = self._traced()

    def _traced(self) -> Traced:
        return Traced(self.trial.traced(self._function) if self.trial else self._function)

    def __call__(self, inputs: np.ndarray, progress: Callable[[int, int, str], None] | None = None) -> np.ndarray:
        """Returns float32 `[N, K]` for N inputs, in their order."""
        return np.concatenate(list(self.stream(inputs, progress=progress)))

    def stream(
        self, inputs: np.ndarray, start: int = 0, progress: Callable[[int, int, str], None] | None = None
    ) -> Iterator[np.ndarray]:
        """Yields the outputs for the inputs from row `start` on, a batch at a time."""
        done = start
        for chunk, real in batches.in_order(inputs, self.size, start):
            yield self._outputs(self._shared(chunk))[:real]
            release(inputs)
            done += real
            if progress:
                progress(done, len(inputs), "")

    def _outputs(self, shared) -> np.ndarray:
        begun = time.perf_counter()
        with self.trial.calling() if self.trial else contextlib.nullcontext():
            outputs = self._run(shared)
            if several_hosts(self.strategy):
                found = self.strategy.gather(outputs, axis=0).numpy()
            else:
                found = np.concatenate([p.numpy() for p in self.strategy.experimental_local_results(outputs)])
        if self.trial and self.trial.took(1, time.perf_counter() - begun):
            self._run = self._traced()
        return found

    def _shared(self, chunk):
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return tf.convert_to_tensor(chunk)
        share = self.size // replicas
        return self.strategy.experimental_distribute_values_from_function(
            lambda c: tf.convert_to_tensor(chunk[c.replica_id_in_sync_group * share :][:share])
        )
