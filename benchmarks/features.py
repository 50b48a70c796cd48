"""Times the frozen network forward: ours against Keras' own and PyTorch's.

python -m benchmarks.features [--quick] [--json=FILE]
"""

import argparse
import collections
import os
import subprocess
import sys
from collections.abc import Callable, Mapping

from benchmarks import networks, runner
from benchmarks.timing import compare, in_turns

TARGETS = (
    ("folded, bfloat16", "Keras, float32", 6.0),
    ("folded, bfloat16", "Keras, bfloat16", 5.0),
    ("folded, bfloat16", "PyTorch, bfloat16, compiled", 2.0),
)


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: for each network the alternatives, with its convolutions alone as the limit."""
    found = {}
    for spec, size, batch, rounds in networks.cases(args.quick):
        functions, alive = {}, []
        for precision in networks.PRECISIONS:
            made, kept = _tensorflow(spec, size, batch, precision)
            functions |= {f"{name}, {precision}": f for name, f in made.items()}
            alive.append(kept)
        if spec == "resnet50":
            functions |= _torch(batch, size)
        rows = compare(in_turns(functions, rounds), "Keras, float32")
        profiles = {precision: _profile(spec, size, batch, precision) for precision in networks.PRECISIONS}
        found[spec] = {"size": size, "batch": batch, "gflop": _gflop(spec, size), "rows": rows, "profiles": profiles}
    return {"cases": found}


def _tensorflow(spec: str, size: int, batch: int, precision: str) -> tuple[dict[str, Callable], list]:
    import tensorflow as tf

    from tf_transfer.models import folding

    plain, ours = networks.network(spec, size, precision)
    images, folds = networks.pictures(batch, size), ours.folds

    def unfolded():
        ours.folds = []
        for fold in folds:
            fold.active = False
        outputs = ours.features(images)
        ours.folds = folds
        return outputs

    compiled = {
        "Keras": tf.function(lambda: plain(tf.cast(images, tf.float32), training=False), autograph=False),
        "fused kernel": tf.function(unfolded, autograph=False),
        "its convolutions alone": _alone(ours, batch),
        "folded": tf.function(lambda: ours.features(images), autograph=False),
    }
    for function in compiled.values():
        function()
    # What the export computes with; the variables live as long as the function does.
    with folding.constant(folds) as kept:
        compiled["folded once"] = tf.function(lambda: ours.features(images), autograph=False)
        compiled["folded once"]()
    return {name: networks.waiting(f) for name, f in compiled.items()}, kept


def _alone(ours, batch: int) -> Callable:
    """Runs every linear layer of a network by itself, on inputs that are there."""
    import tensorflow as tf

    for fold in ours.folds:
        fold.active = False
    layers = [layer for layer in ours.backbone.layers if hasattr(layer, "kernel")]
    inputs = [tf.random.normal((batch, *layer.input.shape[1:]), dtype=layer.compute_dtype) for layer in layers]

    def run():
        # One value of each output: all of it has to be computed, and nothing more is.
        return tf.stack([tf.reshape(layer(x), [-1])[0] for layer, x in zip(layers, inputs, strict=True)])

    return tf.function(run, autograph=False)


def _torch(batch: int, size: int) -> dict[str, Callable]:
    model = networks.torch_resnet()
    if model is None:
        return {}
    import torch

    model = model.resnet.eval()
    half = networks.torch_resnet().resnet.eval().to(torch.bfloat16)
    images = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    found = {
        "PyTorch, float32": (model, images),
        "PyTorch, bfloat16": (half, images.bfloat16()),
        "PyTorch, bfloat16, compiled": (torch.compile(half), images.bfloat16()),
    }

    def run(function, x):
        with torch.inference_mode():
            return function(x).pooler_output

    return {name: (lambda f=f, x=x: run(f, x)) for name, (f, x) in found.items()}


def _profile(spec: str, size: int, batch: int, precision: str, passes: int = 3) -> dict[str, float]:
    """Returns milliseconds of a folded pass by kind of oneDNN primitive, and `all` by the clock."""
    program = (
        "import time; from benchmarks import networks; import tensorflow as tf\n"
        f"_, ours = networks.network({spec!r}, {size}, {precision!r}); images = networks.pictures({batch}, {size})\n"
        "run = tf.function(lambda: ours.features(images), autograph=False); run().numpy(); run().numpy()\n"
        "print('BEGIN', flush=True); begun = time.perf_counter()\n"
        f"for _ in range({passes}): run().numpy()\n"
        "print('END', time.perf_counter() - begun, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=runner.ROOT,
        env=os.environ | {"ONEDNN_VERBOSE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = collections.Counter()
    for line in done.stdout.partition("BEGIN\n")[2].splitlines():
        parts = line.split(",")
        if line.startswith("onednn_verbose") and "exec" in parts:
            found[parts[parts.index("exec") + 2]] += float(parts[-1]) / passes
        elif line.startswith("END"):
            found["all"] = 1000 * float(line.split()[1]) / passes
    return dict(found)


def _gflop(spec: str, size: int) -> float:
    """Returns the operations of one picture, 10^9, a multiplication and an addition as two."""
    import tensorflow as tf

    _, ours = networks.network(spec, size, "float32")
    function = tf.function(ours.features, autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec((1, size, size, 3), tf.uint8)).graph
    wanted = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    counted = tf.compat.v1.profiler.profile(graph, options={**wanted, "output": "none"})
    return counted.total_float_ops / 1e9


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    parts = [
        "## The frozen network, forward",
        "",
        "Keras' own network; ours with each normalisation as one fused kernel; and with each normalisation folded into "
        "the layer before it, its weights worked out at each call or once. The linear layers alone, each on an input "
        "that is there, are what no arrangement of them can beat.",
    ]
    for spec, case in record["cases"].items():
        parts += runner.case_rows(spec, case)
        parts += ["", *(_limit(case, precision) for precision in networks.PRECISIONS)]
    return [*parts, "", *runner.targets(record["cases"]["resnet50"]["rows"], TARGETS, "ResNet-50, ")]


def _limit(case: Mapping, precision: str) -> str:
    """Says how far a folded pass is from its convolutions alone, and where the time goes."""
    folded, alone = (case["rows"][f"{name}, {precision}"]["seconds"] for name in ("folded", "its convolutions alone"))
    rate = case["gflop"] * case["batch"] / 1000
    profile = dict(case["profiles"][precision])
    whole = profile.pop("all")
    kinds = sorted(profile.items(), key=lambda item: -item[1])[:5]
    told = ", ".join(f"{kind} {100 * ms / whole:.0f} %" for kind, ms in kinds)
    return (
        f"- {precision}: folded at {rate / folded:.2f} TFLOP/s, {100 * alone / folded:.0f} % of its convolutions alone "
        f"({rate / alone:.2f}; the targets were set where they reach 1.4 to 2.8 in bfloat16). oneDNN's own time, in "
        f"shares of the pass: {told or 'not told'}."
    )


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
