"""Random numbers that are a function of seed, step and example, however the batch is shared out."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True, eq=False)
class Noise:
    """The random numbers of one step for some examples of its batch.

    Replicas, workers and parts of an accumulated batch draw for their examples the numbers that one device would draw.

    Attributes:
        seed: int32 `[2]`, the run's seed and the step.
        rows: int32 `[B]`, the places of the examples in the global batch.
        total: examples in the global batch.
    """

    seed: tf.Tensor
    rows: tf.Tensor
    total: int

    def uniform(self, shape: Sequence[int], purpose: int) -> tf.Tensor:
        """Draws float32 `[B, *shape]` in [0, 1); another `purpose` gives other numbers."""
        seed = tf.random.experimental.stateless_fold_in(self.seed, purpose)
        return tf.gather(tf.random.stateless_uniform((self.total, *shape), seed), self.rows)

    def of_view(self, number: int) -> "Noise":
        """Returns the noise of another view of the same examples, numbered from 1; view 0 is this one."""
        seed = tf.random.experimental.stateless_fold_in(self.seed, 1_000_000 + number) if number else self.seed
        return Noise(seed, self.rows, self.total)

    def drop(self, x: tf.Tensor, rate: float, purpose: int, shape: Sequence[int] | None = None) -> tf.Tensor:
        """Sets a share `rate` of `x` to 0 and divides the rest by 1 - rate (Srivastava et al., JMLR 2014).

        Args:
            x: float `[B, ...]`.
            rate: in [0, 1).
            purpose: see `uniform`.
            shape: of the mask without the batch, such as `[1, 1, 1]` to drop whole examples; None: the shape of `x`.
        """
        kept = self.uniform(x.shape[1:] if shape is None else shape, purpose) >= rate
        return tf.where(kept, x / tf.cast(1.0 - rate, x.dtype), tf.zeros((), x.dtype))
