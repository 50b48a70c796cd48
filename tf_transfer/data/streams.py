"""The streams of a training: a step gets a batch of each stream, and a replica its share of every batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tf_transfer.data.batches import Batches
from tf_transfer.data.splits import Split


@dataclass(frozen=True, eq=False)
class Stream:
    """One stream: a split, and how a step draws from it.

    Attributes:
        split: the examples; its labels may be None, so that a method cannot read them.
        size: examples in a global batch, over all replicas.
        views: number of augmented views of each example.
        weights: float32 `[N]`, the factor on each example's loss; None: 1 each.
        mix_alpha: see `Batches`.
    """

    split: Split
    size: int
    views: int = 1
    weights: np.ndarray | None = None
    mix_alpha: float = 0.0


class Streams:
    """Batches of several streams, step by step: a pure function of (seed, names and sizes of the streams, step).

    Args:
        streams: by name; the first one sets the length of an epoch.
        seed: non-negative.

    Attributes:
        batches: by name.
        sizes: examples of a global batch, by name.
        first: name of the first stream.
    """

    def __init__(self, streams: Mapping[str, Stream], seed: int):
        self.first = next(iter(streams))
        self.batches = {
            name: Batches(s.split, s.size, seed, s.weights, s.mix_alpha, s.views, "" if name == self.first else name)
            for name, s in streams.items()
        }
        self.sizes = {name: batches.size for name, batches in self.batches.items()}

    @property
    def size(self) -> int:
        """Examples of the first stream in a global batch."""
        return self.sizes[self.first]

    def steps(self, epochs: float) -> int:
        """Returns the number of steps in this many epochs of the first stream, at least 1."""
        return self.batches[self.first].steps(epochs)

    def batch(self, step: int, replica: int = 0, replicas: int = 1) -> dict[str, dict[str, np.ndarray]]:
        """Returns the share of a replica at a step, by stream; see `Batches.batch`."""
        found = {}
        for name, batches in self.batches.items():
            share = batches.size // replicas
            found[name] = batches.batch(step, slice(replica * share, (replica + 1) * share))
        return found

    def dataset(self, start: int, stop: int, replicas: Sequence[int] = (0,), of: int = 1) -> tf.data.Dataset:
        """Returns steps `start` to `stop - 1` as a tf.data pipeline with prefetching.

        Args:
            start: the first step.
            stop: the step after the last.
            replicas: the replicas whose shares of each batch are given, one after the other.
            of: number of replicas that share a batch.
        """
        first = self.batch(start, replicas[0], of)
        keys = [(name, key) for name, values in first.items() for key in values]
        types = [first[name][key].dtype for name, key in keys]

        def read(number):
            step, replica = divmod(int(number), len(replicas))
            found = self.batch(step, replicas[replica], of)
            return [found[name][key] for name, key in keys]

        def load(number):
            values = tf.numpy_function(read, [number], types)
            found: dict[str, dict] = {name: {} for name in first}
            for (name, key), value in zip(keys, values, strict=True):
                found[name][key] = tf.ensure_shape(value, first[name][key].shape)
            return found

        numbers = tf.data.Dataset.range(start * len(replicas), stop * len(replicas))
        return numbers.map(load).prefetch(4 * len(replicas))

    def stream(self, strategy: tf.distribute.Strategy, start: int, stop: int) -> Iterator[dict]:
        """Returns steps `start` to `stop - 1` for the replicas of a strategy, each its share of every batch."""
        total = strategy.num_replicas_in_sync
        if total == 1 and not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return iter(strategy.experimental_distribute_dataset(self.dataset(start, stop)))

        def of_worker(context):
            here = total // context.num_input_pipelines
            first = context.input_pipeline_id * here
            return self.dataset(start, stop, range(first, first + here), total)

        # Not sharded by TensorFlow: every worker would then draw whole batches and drop most of them, and streams of
        # several sizes could not be divided.
        return iter(strategy.distribute_datasets_from_function(of_worker))
