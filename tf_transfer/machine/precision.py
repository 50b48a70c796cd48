"""float32 or bfloat16: which one is faster on this machine, and the Keras policy for it."""

from pathlib import Path

import keras
import tensorflow as tf

from tf_transfer.errors import UserError

PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_precision(name: str, dense: bool = False) -> str:
    """Resolves `--precision` to `float32` or `bfloat16`.

    `auto` takes bfloat16 on GPUs of compute capability 8 or more and CPUs with AMX, which have units for it, and on
    CPUs with only avx512_bf16 for large networks of plain convolutions, where it is faster (docs/performance.md).

    Args:
        name: one of `PRECISIONS`.
        dense: the network is large and of plain convolutions, see `backbones.Backbone.dense`.

    Raises:
        UserError: an unknown name.
    """
    if name not in PRECISIONS:
        raise UserError(f"--precision={name!r}: expected one of {', '.join(PRECISIONS)}.")
    if name != "auto":
        return name
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capable = [tf.config.experimental.get_device_details(g).get("compute_capability", (0, 0))[0] >= 8 for g in gpus]
        return "bfloat16" if all(capable) else "float32"
    flags = _cpu_flags()
    return "bfloat16" if "amx_bf16" in flags or (dense and "avx512_bf16" in flags) else "float32"


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split(":", 1)[1].split()}


class precision_policy:  # noqa: N801
    """Context in which Keras layers are built to compute in `precision`, with float32 variables."""

    def __init__(self, precision: str):
        self.policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"

    def __enter__(self):
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.policy)

    def __exit__(self, *error):
        keras.config.set_dtype_policy(self.before)
