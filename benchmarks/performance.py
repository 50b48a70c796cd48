"""Makes docs/performance.md: times the engine against Keras, in turns, keeps the records, writes the page from them.

    python -m benchmarks.performance [--only=forward,step,head,pipeline,serving,memory] [--shared=../shared/data]

Every figure is a ratio against an alternative that took turns with it in the same process.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import performance_page, runner
from benchmarks.runner import ROOT
from benchmarks.timing import compare, in_turns

# Network, side in pixels, batch: the laptop's and the flagship's.
CASES = (("mobilenet(alpha=0.25)", 96, 128, 20), ("resnet50", 224, 32, 5))


def _network(spec: str, size: int, policy: str):
    """Returns a plain Keras network and, of the same weights, a classifier of ours."""
    import keras

    from tf_transfer.models import backbones
    from tf_transfer.models.classifier import Classifier

    backbone = backbones.find_backbone(spec)
    keras.config.set_dtype_policy(policy)
    try:
        plain, ours = backbones.build(backbone, size), backbones.build(backbone, size)
        ours.set_weights(plain.get_weights())
        return plain, Classifier(ours, "raw", 10)
    finally:
        keras.config.set_dtype_policy("float32")


def _pictures(batch: int, size: int):
    import numpy as np
    import tensorflow as tf

    return tf.constant(np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8))


def forward(shared: Path) -> dict:
    """The frozen network: Keras, ours with its normalisation beside the convolutions, and folded."""
    import tensorflow as tf

    from tf_transfer.models import folding

    found = {}
    for spec, size, batch, rounds in CASES:
        functions, images, alive = {}, _pictures(batch, size), []
        for policy in ("float32", "mixed_bfloat16"):
            plain, ours = _network(spec, size, policy)
            folds = ours.folds

            def keras_pass(images=images, plain=plain):
                return plain(tf.cast(images, tf.float32), training=False)

            def unfolded_pass(images=images, ours=ours, folds=folds):
                ours.folds = []
                for fold in folds:
                    fold.active = False
                outputs = ours.features(images)
                ours.folds = folds
                return outputs

            compiled = {
                f"Keras, {policy}": tf.function(keras_pass, autograph=False),
                f"fused kernel, {policy}": tf.function(unfolded_pass, autograph=False),
                f"folded, {policy}": tf.function(
                    lambda images=images, ours=ours: ours.features(images), autograph=False
                ),
            }
            for function in compiled.values():
                function()
            # What the export computes with; the variables live as long as the function does.
            with folding.constant(folds) as kept:
                constant = tf.function(lambda images=images, ours=ours: ours.features(images), autograph=False)
                constant()
                alive.append(kept)
            compiled[f"folded once, {policy}"] = constant
            functions |= {name: _waiting(f) for name, f in compiled.items()}
        seconds = in_turns(functions, rounds)
        found[spec] = {"size": size, "batch": batch, "rows": compare(seconds, "Keras, float32")}
    return found


def _waiting(function: Callable) -> Callable[[], object]:
    return lambda: function().numpy()


def step(shared: Path) -> dict:
    """A training step of the whole network, statistics frozen and trained: Keras' own and ours."""
    found = {}
    for spec, size, batch, rounds in CASES:
        functions = {}
        for policy in ("frozen", "train"):
            functions |= _steps(spec, size, batch, policy)
        found[spec] = {"size": size, "batch": batch, "rows": compare(in_turns(functions, rounds), "Keras, BN frozen")}
    return found


def _steps(spec: str, size: int, batch: int, policy: str) -> dict[str, Callable]:
    import keras
    import numpy as np
    import tensorflow as tf

    from tf_transfer import runtime
    from tf_transfer.data import augment
    from tf_transfer.data.batches import DRAWS
    from tf_transfer.training import tasks
    from tf_transfer.training.step import LoopConfig, Stepper

    strategy = runtime.make_strategy("one")
    plain, _ = _network(spec, size, "float32")
    with strategy.scope():
        _, ours = _network(spec, size, "float32")
    if policy == "frozen":
        for layer in plain.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    model = keras.Sequential([keras.Input((size, size, 3)), plain, keras.layers.Dense(10)])
    model.compile(
        keras.optimizers.SGD(1e-3, 0.9, nesterov=True), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    images, labels = _pictures(batch, size), tf.constant(np.arange(batch) % 10, tf.int32)
    ours.set_batchnorm(policy)
    task = tasks.classification(ours, ours.groups(), augment.parse("none"), 0.0, "none", True, None)
    with strategy.scope():
        stepper = Stepper(task, LoopConfig(1, 1e-3), batch, strategy)
    ready = {"inputs": images, "label": labels, "weight": tf.ones(batch), "uniform": tf.zeros((batch, DRAWS))}
    floats = tf.cast(images, tf.float32)
    return {
        f"Keras, BN {policy}": lambda: model.train_on_batch(floats, labels),
        f"ours, BN {policy}": lambda: stepper(ready, 1e-3, 0),
    }


def head(shared: Path) -> dict:
    """A head on CIFAR-10, in fresh processes: with features computed once, from the store, and in every step."""
    data = ["--flagfile=flags/cifar10_mobilenet.flags", f"--data_dir={shared / 'tfds'}", "--phase=head"]
    variants = {
        "one pass, solved": [],
        "again, from the store": ["--restart"],
        "one pass, SGD, 10 epochs": ["--restart", "--optimizer=sgd", "--feature_store=off"],
        "backbone in each step, SGD, 5 epochs": ["--restart", "--feature_views=0", "--epochs=5"],
    }
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        for name, flags in variants.items():
            command = [sys.executable, "run.py", *data, *flags, f"--run_dir={folder}/run"]
            begun = time.perf_counter()
            subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=sys.stderr)
            seconds = time.perf_counter() - begun
            lines = (Path(folder) / "run/records.jsonl").read_text().splitlines()
            end = [r for r in map(json.loads, lines) if r["kind"] == "phase_end"][-1]
            rows[name] = {
                "seconds": seconds,
                "phase_seconds": end["seconds"],
                "validation": end["validation_accuracy"],
            }
    return {"rows": rows}


def pipeline(shared: Path) -> dict:
    """Batches as they come against tf.data with a resize for each picture, and against the step that takes them."""
    import numpy as np
    import tensorflow as tf

    from tf_transfer.data.batches import Batches
    from tf_transfer.data.splits import Split

    n, batch, size = 20_000, 128, 96
    pictures = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)
    labels = np.zeros(n, np.int32)
    ours = Batches(Split(pictures, labels, [""] * n), batch, 0, np.ones(n, np.float32))
    steps = n // batch
    naive = tf.data.Dataset.from_tensor_slices((pictures, labels)).shuffle(10_000)
    naive = naive.map(lambda x, y: (tf.image.resize(x, (size, size)), y), tf.data.AUTOTUNE).batch(batch).prefetch(2)
    _, classifier = _network("mobilenet(alpha=0.25)", size, "float32")

    def run(dataset):
        for _ in dataset.take(steps):
            pass

    functions = {
        "tf.data, resize in the map": lambda: run(naive),
        "ours, uint8 to the device": lambda: run(ours.dataset(0, steps)),
    }
    images = _pictures(batch, 32)
    features = tf.function(lambda: classifier.features(images), autograph=False)
    return {
        "pictures": steps * batch,
        "rows": compare(in_turns(functions, 5, warm=1), "tf.data, resize in the map"),
        "forward_pictures_per_second": batch / compare(in_turns({"f": _waiting(features)}, 20), "f")["f"]["seconds"],
    }


def serving(shared: Path) -> dict:
    """The exported model: folded against as trained."""
    import tensorflow as tf

    from tf_transfer import export

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for spec, size, _, rounds in CASES:
            _, classifier = _network(spec, size, "float32")
            names, loaded, sizes = tuple("0123456789"), {}, {}
            for name in ("as trained", "folded"):
                folds, classifier.folds = classifier.folds, classifier.folds if name == "folded" else []
                for fold in folds:
                    fold.active = False
                place = Path(folder) / f"{size}-{name}"
                export.write(classifier, names, place)
                classifier.folds = folds
                loaded[name] = tf.saved_model.load(str(place)).signatures["serving_default"]
                sizes[name] = sum(f.stat().st_size for f in place.rglob("*") if f.is_file())
            rows = {}
            for batch in (1, 32):
                images = _pictures(batch, size)
                functions = {
                    name: (lambda f=f, images=images: f(images=images)["logits"].numpy()) for name, f in loaded.items()
                }
                rows[str(batch)] = compare(in_turns(functions, rounds), "as trained")
            found[spec] = {"size": size, "batches": rows, "bytes": sizes}
    return found


def memory(shared: Path) -> dict:
    """Peak memory of the head phase on image files at 224 px, for ever more of them."""
    pictures = sorted((shared / "flowers").rglob("*.*"))
    pictures = [p for p in pictures if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    rows = {}
    for count in (2_000, 10_000, 50_000):
        with tempfile.TemporaryDirectory() as folder:
            for i in range(count):
                place = Path(folder) / "pictures" / f"class{i % 5}" / f"{i}{pictures[i % len(pictures)].suffix}"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(pictures[i % len(pictures)])
            flags = [f"--dataset={folder}/pictures", "--backbone=mobilenet(alpha=0.25)", "--weights=random",
                     "--phase=head", f"--run_dir={folder}/run", "--feature_views=1"]  # fmt: skip
            program = (
                "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr); "
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
            )
            begun = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", program, sys.executable, "run.py", *flags],
                cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"XDG_CACHE_HOME": folder},
            )  # fmt: skip
            rows[str(count)] = {"peak_bytes": int(done.stdout) * 1024, "seconds": time.perf_counter() - begun}
    return {"rows": rows}


SECTIONS: dict[str, Callable[[Path], dict]] = {
    "forward": forward,
    "step": step,
    "head": head,
    "pipeline": pipeline,
    "serving": serving,
    "memory": memory,
}


def main() -> None:
    """Runs the sections asked for, a process each, and writes the page."""
    parser = runner.options(__doc__, SECTIONS)
    parser.add_argument("--section", help="run one section here and print its record")
    args = parser.parse_args()
    runner.prepare(args)
    if args.section:
        print("\n" + json.dumps(SECTIONS[args.section](args.shared)))
        return

    def measure(name: str) -> dict:
        command = [sys.executable, "-m", "benchmarks.performance", f"--section={name}", f"--shared={args.shared}"]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout.splitlines()[-1]) | performance_page.machine()

    measures = {name: functools.partial(measure, name) for name in SECTIONS}
    runner.refresh("performance", args.only, measures, performance_page.render)


if __name__ == "__main__":
    main()
