"""One optimisation step over all replicas: losses of the method, gradients, reduction, clipping, update."""

import contextlib
import zlib
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tf_transfer.config import Training
from tf_transfer.errors import UserError
from tf_transfer.machine import xla
from tf_transfer.machine.traced import Traced
from tf_transfer.training.method import NO_LOSS, Method
from tf_transfer.training.noise import Noise
from tf_transfer.training.optimizers import OPTIMIZERS, make_slots

NO_PARTS = (
    "--accumulate={}: this --method has a loss of the whole batch, which parts of it do not add up to; give "
    "--accumulate=1 and a smaller --batch_size."
)


class Stepper:
    """One optimisation step over all replicas, compiled once. Must be made inside the strategy's scope.

    Args:
        method: what trains, and on what losses.
        plan: the options; `optimizer`, `clip_norm`, `ema` and `accumulate` count.
        sizes: examples of the global batch by stream; the first one's losses are averaged over its size.
        strategy: its replicas share each batch.
        seed: of the noise.
        penalty: lambda * R(theta), or None.
        trial: decides whether the network is compiled by XLA; None: as it is.

    Raises:
        UserError: a loss of the whole batch cannot be accumulated.
    """

    def __init__(
        self,
        method: Method,
        plan: Training,
        sizes: Mapping[str, int],
        strategy: tf.distribute.Strategy,
        seed: int = 0,
        penalty: Callable[[], tf.Tensor] | None = None,
        trial: xla.Trial | None = None,
    ):
        if plan.accumulate > 1 and method.of_batch:
            raise UserError(NO_PARTS.format(plan.accumulate))
        self.method, self.plan, self.sizes, self.strategy = method, plan, dict(sizes), strategy
        self.seed, self.penalty = seed, penalty
        self.first = next(iter(self.sizes))
        self.optimizer = OPTIMIZERS.create(plan.optimizer)
        groups = method.groups()
        self.variables = [v for group in groups for v in group.variables]
        self.factors = [group.factor for group in groups for _ in group.variables]
        self.slots = make_slots(self.optimizer, self.variables, strategy)
        self.averages = [_copy_beside(v, strategy) for v in self.variables] if plan.ema else []
        self.trial = trial
        self.retrace()

    def retrace(self) -> None:
        """Has the next call trace the step anew: the trial has decided otherwise."""
        self._run = Traced(self.trial.traced(self._step) if self.trial else self._step)

    def __call__(self, batch: Mapping, rate: float, step: int, progress: float = 0.0) -> tuple[float, dict]:
        """Trains on one (distributed) batch of every stream.

        Returns:
            The mean loss without the penalty, and the measures by name, over the global batch.
        """
        loss, measures, _ = self.launch(batch, rate, step, progress)
        return float(loss), {name: float(value) for name, value in measures.items()}

    def launch(
        self, batch: Mapping, rate: float, step: int, progress: float = 0.0, wishes: Sequence[float] = ()
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        """Trains like `__call__`, but returns tensors: reading a value here would make the GPU wait for the host.

        Args:
            batch: see `__call__`.
            rate: the learning rate.
            step: counted from 0.
            progress: share of the training that is done, in [0, 1).
            wishes: numbers of this worker, such as 1 to stop and 1 to save.

        Returns:
            Mean loss, measures, and the sum of the wishes over all replicas, from which all workers decide alike.
        """
        floats = [tf.constant(x, tf.float32) for x in (rate, progress, wishes)]
        with self.trial.calling() if self.trial else contextlib.nullcontext():
            total, measures, wished = self._run(batch, floats[0], tf.constant(step, tf.int32), *floats[1:])
        size = self.sizes[self.first]
        return total / size, {name: value / size for name, value in measures.items()}, wished

    def _step(self, batch, rate, step, progress, wishes):
        results = self.strategy.run(self._replica_step, args=(batch, rate, step, progress, wishes))
        # After `run` all replicas have updated their variables, so that `after` sees the new values.
        self.method.after(step)
        return tf.nest.map_structure(
            lambda r: self.strategy.reduce(tf.distribute.ReduceOp.SUM, r, axis=None), results, expand_composites=False
        )

    def _replica_step(self, batch, rate, step, progress, wishes):
        context = tf.distribute.get_replica_context()
        parts, shares = self.plan.accumulate, self.plan.accumulate * context.num_replicas_in_sync
        total, measures, gradients = 0.0, {}, []
        for part in range(parts):
            share = {
                name: {key: _part(values, part, parts) for key, values in stream.items()}
                for name, stream in batch.items()
            }
            # A part waits for the one before it, so that only one part at a time needs memory.
            with tf.control_dependencies(gradients):
                found = self._gradients(share, self._noise(share, step), progress, shares)
            total = total + found[0]
            measures = {name: measures.get(name, 0.0) + value for name, value in found[1].items()}
            gradients = found[2] if not part else [a + b for a, b in zip(gradients, found[2], strict=True)]
        if gradients:
            self._apply(context, gradients, rate, step)
        # `reduce` takes only values that a replica computed: `identity` makes the argument such a value.
        return total, measures, tf.identity(wishes)

    def _noise(self, batch: Mapping[str, Mapping], step: tf.Tensor) -> dict[str, Noise]:
        """Makes the noise of every stream: the first draws from (seed, step) alone, others also from their name."""
        seed, found = tf.stack([tf.constant(self.seed, tf.int32), step]), {}
        for name, stream in batch.items():
            own = seed
            if name != self.first:
                own = tf.random.experimental.stateless_fold_in(seed, zlib.crc32(name.encode()) & 0x7FFFFFFF)
            found[name] = Noise(own, stream["row"], self.sizes[name])
        return found

    def _gradients(self, batch, noise, progress, shares: int):
        """Computes the sum of the losses, the sums of the measures, and the gradients of one share of the batch."""
        size = self.sizes[self.first]
        # Watching only what trains saves the backward pass of the frozen stages below it.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in self.variables:
                tape.watch(variable)
            losses = self.method.loss(batch, noise, progress)
            examples = losses.examples * batch[self.first]["weight"]
            # A sum over the size of the global batch, so that replicas with fewer examples count less.
            objective = tf.reduce_sum(examples) / size
            total = tf.reduce_sum(examples)
            if self.method.of_batch:
                # Every replica computes the same loss of the whole batch, and contributes its share of it.
                objective += losses.batch / shares
                total += losses.batch * (size / shares)
            elif losses.batch is not NO_LOSS:
                raise ValueError(
                    f"{type(self.method).__name__} returns a loss of the batch, but has no of_batch = True."
                )
            if self.penalty is not None:
                objective += self.penalty() / shares
        measures = {name: _summed(value, examples, size / shares) for name, value in losses.measures.items()}
        if not self.variables:
            return total, measures, []
        gradients = tape.gradient(objective, self.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return total, measures, [tf.convert_to_tensor(g) for g in gradients]

    def _apply(self, context, gradients, rate, step) -> None:
        """Reduces the gradients over the replicas, clips them, and updates the variables."""
        if context.num_replicas_in_sync > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.plan.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.plan.clip_norm)
        context.merge_call(self._update, args=(gradients, rate, step))

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
            # Early steps average over the steps so far, as TensorFlow's `num_updates` does.
            steps = tf.cast(step, tf.float32)
            decay = tf.minimum(self.plan.ema, (1.0 + steps) / (10.0 + steps))
            average.assign_sub((average - variable) * (1.0 - decay))

    @contextlib.contextmanager
    def averaged(self):
        """Inside, the variables hold their moving averages; without EMA they stay as they are."""
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


def _summed(value: tf.Tensor, examples: tf.Tensor, share: float) -> tf.Tensor:
    """Sums a measure over a share of the batch.

    A scalar of the global batch, and the mean over a stream of another size, count by that share.
    """
    if not len(value.shape):
        return value * share
    return tf.reduce_sum(value) if value.shape == examples.shape else tf.reduce_mean(value) * share


def _part(values, part: int, parts: int):
    if parts == 1:
        return values
    size = tf.shape(values)[0]
    return values[size * part // parts : size * (part + 1) // parts]


def _copy_beside(variable, strategy) -> tf.Variable:
    with strategy.extended.colocate_vars_with(variable):
        return tf.Variable(variable.numpy(), trainable=False)
