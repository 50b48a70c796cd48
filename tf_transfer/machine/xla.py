"""Decides whether networks are compiled with XLA."""

import tensorflow as tf


def resolve_xla(name: str) -> bool:
    """Says whether to compile networks with XLA: `on`, `off`, or by `auto` on GPUs whose XLA works.

    On CPUs XLA is slower. On a GPU whose CUDA lacks libdevice or ptxas every compilation fails, so `auto` tries one.
    """
    if name != "auto":
        return name == "on"
    if not tf.config.list_physical_devices("GPU"):
        return False
    try:
        tf.function(lambda x: tf.exp(tf.matmul(x, x)), autograph=False, jit_compile=True)(tf.ones((8, 8)))
    except tf.errors.OpError:
        return False
    return True
