"""One optimisation step over all replicas: what a task gives, how it is reduced, clipped and applied."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import tensorflow as tf

from tf_transfer.models.classifier import ParameterGroup
from tf_transfer.models.dropout import Noise
from tf_transfer.training.optimizers import OPTIMIZERS, make_slots


@dataclass(frozen=True)
class Task:
    """What a kind of training gives the loop.

    Attributes:
        loss: `(batch, noise) -> (losses, hits)`, both float32 `[B]`: the loss of each example and whether it was
            right; `noise`, a `dropout.Noise`, differs by step and example.
        groups: what trains.
        state: every variable that training may change; kept at its best and put back at the end.
        penalty: lambda * R(theta), or None.
        validate: measures the current variables: `loss`, `accuracy` and the number of `examples`; or None.
    """

    loss: Callable[[dict, Noise], tuple[tf.Tensor, tf.Tensor]]
    groups: Sequence[ParameterGroup]
    state: Sequence[tf.Variable]
    penalty: Callable[[], tf.Tensor] | None = None
    validate: Callable[[], dict] | None = None


@dataclass(frozen=True)
class LoopConfig:
    """How the loop runs.

    Attributes:
        epochs: passes over the data, may be a fraction.
        learning_rate: peak rate.
        optimizer, schedule: registry specs.
        warmup: share of the steps over which the rate rises, in [0, 1).
        clip_norm: largest norm of the whole gradient, after reduction over replicas; 0 for none.
        ema: decay of the exponential moving average of the weights that is validated and kept; 0 for none.
        patience: epochs without a better validation before the loop stops; 0 for never. Where there are many
            short epochs, validation comes after every few of them.
        seed: of dropout.
        accumulate: parts that a replica's share of a batch is computed in, one after the other; their gradients add
            up to that of the whole. Batch statistics are those of a part.
        on_nan: `stop`, or `rollback` to the last checkpoint at half the rate.
    """

    epochs: float
    learning_rate: float
    optimizer: str = "sgd"
    schedule: str = "cosine"
    warmup: float = 0.0
    clip_norm: float = 0.0
    ema: float = 0.0
    patience: int = 0
    seed: int = 0
    accumulate: int = 1
    on_nan: str = "stop"


class Stepper:
    """One optimisation step over all replicas, compiled once. Must be made inside the strategy's scope."""

    def __init__(self, task: Task, config: LoopConfig, batch_size: int, strategy: tf.distribute.Strategy):
        self.task, self.config, self.batch_size, self.strategy = task, config, batch_size, strategy
        self.optimizer = OPTIMIZERS.create(config.optimizer)
        self.variables = [v for group in task.groups for v in group.variables]
        self.factors = [group.factor for group in task.groups for _ in group.variables]
        self.slots = make_slots(self.optimizer, self.variables, strategy)
        self.averages = [_copy_beside(v, strategy) for v in self.variables] if config.ema else []
        self._run = tf.function(self._step, autograph=False)

    def __call__(self, batch: dict, rate: float, step: int) -> tuple[float, float]:
        """Trains on one (distributed) batch.

        Returns:
            The mean loss without the penalty, and the accuracy, over the global batch.
        """
        loss, accuracy, _ = self.launch(batch, rate, step)
        return float(loss), float(accuracy)

    def launch(self, batch: dict, rate: float, step: int, wishes: Sequence[float] = ()) -> tuple[tf.Tensor, ...]:
        """Trains as a call does, but returns tensors: reading one would make a GPU wait for the host.

        Args:
            batch: see `__call__`.
            rate: the learning rate.
            step: counted from 0.
            wishes: numbers of this worker.

        Returns:
            Mean loss, accuracy, and the sum of the wishes over all replicas, by which workers agree.
        """
        wishes = tf.constant(wishes, tf.float32)
        total, hits, wished = self._run(batch, tf.constant(rate, tf.float32), tf.constant(step, tf.int32), wishes)
        return total / self.batch_size, hits / self.batch_size, wished

    def _step(self, batch, rate, step, wishes):
        results = self.strategy.run(self._replica_step, args=(batch, rate, step, wishes))
        return [self.strategy.reduce(tf.distribute.ReduceOp.SUM, r, axis=None) for r in results]

    def _replica_step(self, batch, rate, step, wishes):
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        parts = self.config.accumulate
        total, hits, gradients = 0.0, 0.0, []
        for part in range(parts):
            share = {name: _part(values, part, parts) for name, values in batch.items()}
            noise = Noise(tf.stack([tf.constant(self.config.seed, tf.int32), step]), share["row"], self.batch_size)
            # A part begins where the one before has ended: only then does one alone need memory.
            with tf.control_dependencies(gradients):
                found = self._gradients(share, noise, parts * replicas)
            total, hits = total + found[0], hits + found[1]
            gradients = found[2] if not part else [a + b for a, b in zip(gradients, found[2], strict=True)]
        if replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.clip_norm)
        context.merge_call(self._update, args=(gradients, rate, step))
        # A copy: what goes through untouched is no value of a replica, and cannot be summed over them.
        return total, hits, tf.identity(wishes)

    def _gradients(self, batch, noise, shares):
        """Returns the sum of the losses, of the hits, and the gradients, of one of so many shares of the batch."""
        # Only what is watched is differentiated: frozen stages below the lowest trained one cost no backward pass.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in self.variables:
                tape.watch(variable)
            losses, hits = self.task.loss(batch, noise)
            losses = losses * batch["weight"]
            # Sums over the global batch, so that uneven replicas weigh by their examples.
            objective = tf.reduce_sum(losses) / self.batch_size
            if self.task.penalty is not None:
                objective += self.task.penalty() / shares
        gradients = tape.gradient(objective, self.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return tf.reduce_sum(losses), tf.reduce_sum(hits), [tf.convert_to_tensor(g) for g in gradients]

    def _update(self, strategy, gradients, rate, step):
        averages = self.averages or [None] * len(self.variables)
        for variable, gradient, slots, factor, average in zip(
            self.variables, gradients, self.slots, self.factors, averages, strict=True
        ):
            strategy.extended.update(
                variable, self._update_one, args=(gradient, rate, step, factor, average, *slots), group=False
            )

    def _update_one(self, variable, gradient, rate, step, factor, average, *slots):
        self.optimizer.update(variable, gradient, rate * factor, step, *slots)
        if average is not None:
            # Early steps average over what there is so far, as TensorFlow's `num_updates` does.
            steps = tf.cast(step, tf.float32)
            decay = tf.minimum(self.config.ema, (1.0 + steps) / (10.0 + steps))
            average.assign_sub((average - variable) * (1.0 - decay))

    @contextmanager
    def averaged(self):
        """Inside, the variables hold their moving averages (nothing changes without EMA)."""
        if not self.averages:
            yield
            return
        kept = [v.numpy() for v in self.variables]
        for variable, average in zip(self.variables, self.averages, strict=True):
            variable.assign(average.numpy())
        try:
            yield
        finally:
            for variable, value in zip(self.variables, kept, strict=True):
                variable.assign(value)


def _part(values, part: int, parts: int):
    if parts == 1:
        return values
    size = tf.shape(values)[0]
    return values[size * part // parts : size * (part + 1) // parts]


def _copy_beside(variable, strategy) -> tf.Variable:
    with strategy.extended.colocate_vars_with(variable):
        return tf.Variable(variable.numpy(), trainable=False)
