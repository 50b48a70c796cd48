"""The recipe of the Keras guide "Transfer learning & fine-tuning" on CIFAR-10: what the package is compared with.

MobileNet(alpha=0.25) with ImageNet weights at 96 px. Phase one trains a new top on the frozen base with Adam at 1e-3,
phase two unfreezes the base and goes on with Adam at 1e-5. The recipe is that of
https://keras.io/guides/transfer_learning with its augmentation inside the model; CIFAR-10 asks for ten classes, its own
size, and a cache of the uint8 pictures instead of the enlarged ones, which would take 5 GB.

    python -m benchmarks.keras_guide --data_dir=~/tensorflow_datasets --json=keras_guide.json

The guide's `base(x, training=False)` does not reach the base under `fit` in Keras 3.15 (keras#20285): the BatchNorm
statistics move in phase two. The recipe is measured as published.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
import tensorflow_datasets as tfds

SIZE = 96
VALIDATION_SHARE = 0.1
DROPOUT = 0.2
LEARNING_RATES = {"head": 1e-3, "full": 1e-5}


def load(data_dir: str | None, examples: int | None, batch_size: int, seed: int) -> tuple[dict, dict]:
    """Returns the batched, resized datasets and the number of examples in each, by split.

    Args:
        data_dir: the folder of TensorFlow Datasets; None is its default, `~/tensorflow_datasets`.
        examples: use this many of the training split, validation included; None is all of them.
        batch_size: examples a batch.
        seed: of the training order.
    """
    builder = tfds.builder("cifar10", data_dir=data_dir)
    builder.download_and_prepare()
    total = builder.info.splits["train"].num_examples
    train_end = round(total * (1 - VALIDATION_SHARE))
    used = min(examples or total, total)
    validation = round(used * VALIDATION_SHARE)
    counts = {"train": used - validation, "validation": validation, "test": builder.info.splits["test"].num_examples}
    slices = {
        "train": f"train[:{counts['train']}]",
        "validation": f"train[{train_end}:{train_end + validation}]",
        "test": "test",
    }
    datasets = {}
    for split, piece in slices.items():
        dataset = builder.as_dataset(split=piece, as_supervised=True).cache()
        if split == "train":
            dataset = dataset.shuffle(10_000, seed=seed)
        # Resizing whole batches instead of single pictures nearly doubles the pipeline's speed.
        dataset = dataset.batch(batch_size).map(resize, num_parallel_calls=tf.data.AUTOTUNE)
        datasets[split] = dataset.prefetch(tf.data.AUTOTUNE)
    return datasets, counts


def resize(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns float32 `[B, SIZE, SIZE, 3]` pictures in [0, 255] and their labels."""
    return tf.image.resize(images, (SIZE, SIZE)), labels


def build(classes: int = 10) -> tuple[keras.Model, keras.Model]:
    """Returns the classifier, which takes pictures in [0, 255] and gives logits, and the base inside it."""
    base = keras.applications.MobileNet(alpha=0.25, weights="imagenet", input_shape=(SIZE, SIZE, 3), include_top=False)
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.Rescaling(scale=1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(DROPOUT)(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x)), base


def train(model: keras.Model, datasets: dict, phase: str, epochs: int, verbose: int) -> dict:
    """Compiles and fits one phase.

    Returns:
        its name, epochs, learning rate, validation accuracy after its last epoch, and wall-clock seconds, in which
        tracing the graph and validating after every epoch are included.
    """
    start = time.perf_counter()
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATES[phase]),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    # The dataset shuffles itself; fit warns where it is not told so.
    history = model.fit(
        datasets["train"], epochs=epochs, validation_data=datasets["validation"], shuffle=False, verbose=verbose
    )
    return {
        "phase": phase,
        "epochs": epochs,
        "learning_rate": LEARNING_RATES[phase],
        "validation_accuracy": history.history["val_accuracy"][-1],
        "seconds": time.perf_counter() - start,
    }


def run(
    data_dir: str | None = None,
    examples: int | None = None,
    epochs: Sequence[int] = (5, 3),
    batch_size: int = 64,
    seed: int = 0,
    verbose: int = 2,
) -> dict:
    """Runs both phases and the test.

    Args:
        data_dir: the folder of TensorFlow Datasets; None is its default.
        examples: use this many training examples, a tenth of them to validate; None is all 50,000.
        epochs: of the phase on the frozen base and of the phase that trains all of it.
        batch_size: examples a batch.
        seed: of Python, NumPy, TensorFlow and the training order.
        verbose: as in `keras.Model.fit`.

    Returns:
        what was run, `phases` as `train` returns them, `test_accuracy`, and `seconds` in all: data, building, both
        phases and the test.
    """
    start = time.perf_counter()
    keras.utils.set_random_seed(seed)
    datasets, counts = load(data_dir, examples, batch_size, seed)
    model, base = build()
    phases = [train(model, datasets, "head", epochs[0], verbose)]
    base.trainable = True
    phases.append(train(model, datasets, "full", epochs[1], verbose))
    test = model.evaluate(datasets["test"], return_dict=True, verbose=0)
    return {
        "recipe": "keras_guide",
        "dataset": "cifar10",
        "backbone": "mobilenet(alpha=0.25)",
        "image_size": SIZE,
        "batch_size": batch_size,
        "seed": seed,
        "examples": counts,
        "phases": phases,
        "test_accuracy": test["accuracy"],
        "seconds": time.perf_counter() - start,
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }


def table(result: dict) -> str:
    """Returns the result as a Markdown table."""
    rows = ["| phase | epochs | validation accuracy | test accuracy | seconds |", "|---|---:|---:|---:|---:|"]
    for phase in result["phases"]:
        accuracy = f"{phase['validation_accuracy']:.4f}"
        rows.append(f"| {phase['phase']} | {phase['epochs']} | {accuracy} | | {phase['seconds']:.1f} |")
    rows.append(f"| in all | | | {result['test_accuracy']:.4f} | {result['seconds']:.1f} |")
    return "\n".join(rows)


def _epochs(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected two positive whole numbers such as 5,3, got {text!r}")
    return int(parts[0]), int(parts[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keras_guide", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data_dir", type=os.path.expanduser, help="folder of TensorFlow Datasets (default: ~/tensorflow_datasets)"
    )
    parser.add_argument("--examples", type=int, help="training examples to use, at least 20 (default: all)")
    parser.add_argument("--epochs", type=_epochs, default=(5, 3), metavar="HEAD,FULL", help="default: 5,3")
    parser.add_argument("--batch_size", type=int, default=64, help="default: 64")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    args = parser.parse_args()
    if args.examples is not None and args.examples < 20:
        parser.error(f"--examples={args.examples}: at least 20 are needed to train and validate")
    result = run(args.data_dir, args.examples, args.epochs, args.batch_size, args.seed)
    text = json.dumps(result, indent=2)
    print(table(result), text, sep="\n\n")
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
