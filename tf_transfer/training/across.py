"""Gathers tensors of the global batch in every replica, for losses of the whole batch."""

import tensorflow as tf


def gather(x: tf.Tensor) -> tf.Tensor:
    """Concatenates the rows of all replicas, in their order.

    Every replica then computes the same loss of the global batch, and the step divides it by the number of replicas:
    each row gets the gradient that the loss has on one device.

    Args:
        x: `[B, ...]` on each replica, all of one shape.

    Returns:
        `[B * replicas, ...]`; `x` itself where there is one replica. Its gradient reaches the rows of every replica.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return x
    # A copy: what comes from the input pipeline as it is has no device, and on several hosts cannot be gathered.
    return context.all_gather(tf.identity(x), axis=0)
