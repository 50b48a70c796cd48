"""Training batches as a pure function of (seed, step), evaluation batches in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import tensorflow as tf

from tf_transfer.data.disk_arrays import release
from tf_transfer.data.splits import Split

# Uniform numbers an example gets in each epoch; `augment` says which operation reads which.
DRAWS = 8


@dataclass(frozen=True, eq=False)
class Batches:
    """The endless stream of training batches over one split.

    Epoch e visits every example once, in a permutation drawn from (seed, e); the permutations are
    laid end to end and cut into batches, so every batch is full, none is dropped, and batch `step`
    is known without having drawn the ones before it. Everything random about an example (its
    augmentation, its mixing partner) is a function of (seed, epoch, example).

    Attributes:
        split: what to draw from.
        size: examples a batch over all replicas.
        seed: non-negative.
        example_weights: float32 `[N]`, the factor on each example's loss.
        mix_alpha: alpha of the Beta(alpha, alpha) law of mixup and cutmix; 0 for no mixing.
    """

    split: Split
    size: int
    seed: int
    example_weights: np.ndarray
    mix_alpha: float = 0.0
    _epoch: object = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_epoch", lru_cache(maxsize=3)(self._draw_epoch))

    def steps(self, epochs: float) -> int:
        """Returns the number of batches in so many epochs, at least 1."""
        return max(1, round(epochs * len(self.split) / self.size))

    def batch(self, step: int, share: slice = slice(None)) -> dict[str, np.ndarray]:
        """Returns batch number `step`, counted from 0, or the rows of it that `share` names.

        Returns:
            `inputs` (as in the split), `label` int32 `[B]`, `weight` float32 `[B]`, `uniform` float32
            `[B, DRAWS]` in [0, 1), `row` int32 `[B]`, the place in the batch; and when mixing, `inputs2`, `label2` and
            `mix` float32 `[B]`.
        """
        row = np.arange(self.size, dtype=np.int32)[share]
        epochs, place = np.divmod(step * self.size + row.astype(np.int64), len(self.split))
        parts = [self._part(e, place[epochs == e]) for e in np.unique(epochs)]
        found = parts[0] if len(parts) == 1 else {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
        return found | {"row": row}

    def dataset(self, start: int, stop: int, shares: Sequence[slice] = (slice(None),)) -> tf.data.Dataset:
        """Returns batches `start` to `stop - 1` as a tf.data pipeline, made ahead of their use.

        Args:
            start: the first step.
            stop: the step after the last.
            shares: parts of each batch to give, one after the other.
        """
        first = self.batch(start, shares[0])
        keys, types = list(first), [v.dtype for v in first.values()]

        def read(number):
            step, share = divmod(int(number), len(shares))
            found = self.batch(step, shares[share])
            return [found[k] for k in keys]

        def load(number):
            values = tf.numpy_function(read, [number], types)
            return {k: tf.ensure_shape(v, first[k].shape) for k, v in zip(keys, values, strict=True)}

        numbers = tf.data.Dataset.range(start * len(shares), stop * len(shares))
        return numbers.map(load).prefetch(4 * len(shares))

    def stream(self, strategy: tf.distribute.Strategy, start: int, stop: int) -> Iterator[dict]:
        """Returns batches `start` to `stop - 1` for the replicas of a strategy, each its share of every batch."""
        replicas = strategy.num_replicas_in_sync
        share = self.size // replicas

        def of_worker(context):
            here = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * here
            rows = [slice(r * share, (r + 1) * share) for r in range(first, first + here)]
            return self.dataset(start, stop, rows)

        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # Sharded by TensorFlow, every worker would draw its own stream and keep a part of it.
            return iter(strategy.distribute_datasets_from_function(of_worker))
        return iter(strategy.experimental_distribute_dataset(self.dataset(start, stop)))

    def _draw_epoch(self, epoch: int) -> dict[str, np.ndarray]:
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        n = len(self.split)
        drawn = {"order": random.permutation(n), "uniform": random.random((n, DRAWS), dtype=np.float32)}
        if self.mix_alpha:
            drawn["partner"] = random.permutation(n)
            drawn["mix"] = random.beta(self.mix_alpha, self.mix_alpha, n).astype(np.float32)
        return drawn

    def _part(self, epoch: int, place: np.ndarray) -> dict[str, np.ndarray]:
        drawn = self._epoch(int(epoch))
        rows = drawn["order"][place]
        part = {
            "inputs": self.split.inputs[rows],
            "label": self.split.labels[rows].astype(np.int32),
            "weight": self.example_weights[rows].astype(np.float32),
            "uniform": drawn["uniform"][rows],
        }
        if self.mix_alpha:
            other = drawn["partner"][rows]
            part |= {
                "inputs2": self.split.inputs[other],
                "label2": self.split.labels[other].astype(np.int32),
                "mix": drawn["mix"][rows],
            }
        release(self.split.inputs)
        return part


def in_order(inputs: np.ndarray, size: int, first: int = 0) -> Iterator[tuple[np.ndarray, int]]:
    """Yields batches of one static shape, from row `first` on, and how many of each are real.

    The last is padded by repetition.
    """
    for start in range(first, len(inputs), size):
        chunk = np.asarray(inputs[start : start + size])
        real = len(chunk)
        if real < size:
            chunk = chunk[np.arange(size) % real]
        yield chunk, real
