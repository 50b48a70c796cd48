"""Whether networks are compiled with XLA."""

import tensorflow as tf


def resolve_xla(name: str) -> bool:
    """Says whether networks are compiled with XLA: by `auto` on GPUs alone, and where their XLA is complete.

    On CPUs it is slower. On a GPU whose CUDA lacks libdevice or ptxas every compilation fails: one is tried.
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
