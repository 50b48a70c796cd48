"""Times bfloat16 against float32, forward and in a training step, on a network of each family.

python -m benchmarks.precision [--quick] [--json=FILE]

What `--precision=auto` takes on a processor that has avx512_bf16 and no AMX rests on it (`Backbone.dense`).
"""

import argparse
import gc
from collections.abc import Callable, Mapping

from benchmarks import networks, runner
from benchmarks.full_step import stepper
from benchmarks.timing import compare, in_turns

# Network, side in pixels, batch.
CASES = (
    ("vgg16", 224, 8),
    ("resnet50", 224, 16),
    ("resnet50v2", 224, 16),
    ("densenet121", 224, 16),
    ("inception_v3", 299, 8),
    ("inception_resnet_v2", 299, 4),
    ("xception", 299, 8),
    ("efficientnetv2b0", 224, 16),
    ("convnext_tiny", 224, 8),
    ("nasnet_mobile", 224, 8),
)


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: how many times as fast bfloat16 is, by network and work."""
    import keras

    found = {}
    for spec, size, batch in CASES[:1] if args.quick else CASES:
        works = {"forward": _forward, "step": stepper}
        rows = {}
        for work, make in works.items():
            functions = {precision: make(spec, size, batch, precision) for precision in networks.PRECISIONS}
            rows[work] = compare(in_turns(functions, 2 if args.quick else 5), "float32")["bfloat16"]
            del functions
            keras.backend.clear_session()
            gc.collect()
        found[spec] = {"size": size, "batch": batch, "rows": rows}
    return {"cases": found}


def _forward(spec: str, size: int, batch: int, precision: str) -> Callable[[], object]:
    import tensorflow as tf

    _, ours = networks.network(spec, size, precision)
    images = networks.pictures(batch, size)
    return networks.waiting(tf.function(lambda: ours.features(images), autograph=False))


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    from tf_transfer.modalities.backbones import find_backbone

    rows = []
    for spec, case in record["cases"].items():
        told = (f"{r['ratio']:.2f} ({r['low']:.2f} to {r['high']:.2f})" for r in case["rows"].values())
        chosen = "bfloat16" if find_backbone(spec).dense else "float32"
        rows.append((spec, f"{case['size']}", f"{case['batch']}", *told, chosen))
    return [
        "## bfloat16, network by network",
        "",
        "How many times as fast as float32, both folded by our engine, in turns; quartiles in brackets. "
        "`auto` is what `--precision=auto` takes on a processor with avx512_bf16 and without AMX.",
        "",
        *runner.table(("", "px", "batch", "forward", "training step", "auto"), rows),
    ]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
