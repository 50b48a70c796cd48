"""Times the exported model: ours against Keras' `model.export` and ONNX Runtime.

python -m benchmarks.serving [--quick] [--json=FILE]
"""

import argparse
import contextlib
import importlib.util
import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import networks, runner
from benchmarks.timing import compare, in_turns

BATCHES = {1: 2.0, 32: 5.0}  # With how many times as fast as `model.export` ours is to be.


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: for each network and batch the alternatives, and what they take on disk."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for spec, size, _, rounds in networks.cases(args.quick):
            place = Path(folder) / str(size)
            made = {"model.export": _keras(spec, size, place / "keras")}
            for precision in networks.PRECISIONS:
                made[f"ours, {precision}"] = _ours(spec, size, precision, place / precision)
            made |= _onnx(spec, size, place / "onnx")
            sizes = {name: stored for name, (_, stored) in made.items()}
            rows = {}
            for batch in BATCHES:
                functions = {name: run(batch) for name, (run, _) in made.items()}
                rows[str(batch)] = compare(in_turns(functions, rounds), "model.export")
            found[spec] = {"size": size, "batches": rows, "bytes": sizes}
    return {"cases": found}


def _stored(place: Path) -> int:
    return sum(f.stat().st_size for f in place.rglob("*") if f.is_file())


def _model(spec: str, size: int):
    import keras

    plain, _ = networks.network(spec, size, "float32")
    return keras.Sequential([keras.Input((size, size, 3)), plain, keras.layers.Dense(10)])


def _keras(spec: str, size: int, place: Path) -> tuple[Callable, int]:
    import tensorflow as tf

    with contextlib.redirect_stdout(io.StringIO()):
        _model(spec, size).export(str(place))
    loaded = tf.saved_model.load(str(place))

    def run(batch):
        floats = tf.cast(networks.pictures(batch, size), tf.float32)
        return lambda: loaded.serve(floats).numpy()

    return run, _stored(place)


def _ours(spec: str, size: int, precision: str, place: Path) -> tuple[Callable, int]:
    import tensorflow as tf

    from tf_transfer.export import saved_model
    from tf_transfer.modalities import base

    _, classifier = networks.network(spec, size, precision)
    saved_model.write(classifier, base.find("image"), tuple("0123456789"), place)
    loaded = tf.saved_model.load(str(place)).signatures["serving_default"]

    def run(batch):
        images = networks.pictures(batch, size)
        return lambda: loaded(images=images)["logits"].numpy()

    return run, _stored(place)


def _onnx(spec: str, size: int, place: Path) -> dict[str, tuple[Callable, int]]:
    if not all(map(importlib.util.find_spec, ("onnxruntime", "tf2onnx"))):
        return {}
    import numpy as np
    import onnxruntime

    place.mkdir(parents=True)
    file = str(place / "model.onnx")
    model = _model(spec, size)
    # Keras exports to ONNX what has been called.
    model(np.zeros((1, size, size, 3), np.float32))
    with contextlib.redirect_stdout(io.StringIO()):
        model.export(file, format="onnx")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch):
        floats = networks.pictures(batch, size).numpy().astype(np.float32)
        return lambda: session.run(None, {name: floats})

    return {"ONNX Runtime": (run, _stored(place))}


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    parts = [
        "## The exported model",
        "",
        "`serving_default` of our SavedModel, which takes uint8 and scales, normalises and folds inside, against "
        "`model.export` of the same network on float32.",
    ]
    for spec, case in record["cases"].items():
        rows = [
            (f"{name}, batch {batch}", f"{1000 * r['seconds']:.1f}", f"{r['ratio']:.2f}",
             f"{r['low']:.2f} to {r['high']:.2f}", f"{case['bytes'][name] / 1e6:.1f}")
            for batch, timed in case["batches"].items() for name, r in timed.items()
        ]  # fmt: skip
        parts += ["", f"**{spec}**, {case['size']} px", ""]
        parts += runner.table(("", "milliseconds", "ratio", "quartiles", "MB"), rows)
    parts.append("")
    for batch, times in BATCHES.items():
        rows = record["cases"]["resnet50"]["batches"][str(batch)]
        parts += runner.targets(rows, [("ours, bfloat16", "model.export", times)], f"ResNet-50, batch {batch}, ")
    rate = batch / rows["ours, bfloat16"]["seconds"]
    limit = f"- At batch {batch} that is {rate:.0f} pictures/s, what the forward pass of the first section gives."
    return [*parts, limit]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
