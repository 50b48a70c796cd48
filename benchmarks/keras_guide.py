"""The recipe of the Keras guide "Transfer learning & fine-tuning" on CIFAR-10: what the package is compared with.

MobileNet(alpha=0.25) with ImageNet weights at 96 px, or ResNet-50 at 224. Phase one trains a new top on the frozen base
with Adam at 1e-3, phase two unfreezes the base and goes on with Adam at 1e-5. The recipe is that of
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

# Side in pixels, and constructor by size and weights.
BASES = {
    "mobilenet": (96, lambda **more: keras.applications.MobileNet(alpha=0.25, include_top=False, **more)),
    "resnet50": (224, lambda **more: keras.applications.ResNet50(include_top=False, **more)),
}
VALIDATION_SHARE = 0.1
DROPOUT = 0.2
LEARNING_RATES = {"head": 1e-3, "full": 1e-5}


def load(data_dir: str | None, examples: int | None, batch_size: int, seed: int, size: int) -> tuple[dict, dict]:
    """Returns the batched, resized datasets and the number of examples in each, by split.

    Args:
        data_dir: the folder of TensorFlow Datasets; None is its default, `~/tensorflow_datasets`.
        examples: use this many of the training split, validation included; None is all of them.
        batch_size: examples a batch.
        seed: of the training order.
        size: side in pixels of the resized pictures.
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
        dataset = dataset.batch(batch_size).map(
            lambda images, labels: (tf.image.resize(images, (size, size)), labels), num_parallel_calls=tf.data.AUTOTUNE
        )
        datasets[split] = dataset.prefetch(tf.data.AUTOTUNE)
    return datasets, counts


def build(backbone: str = "mobilenet", weights: str | None = "imagenet") -> tuple[keras.Model, keras.Model]:
    """Returns the classifier of ten classes, which takes pictures in [0, 255], and the base inside it."""
    size, constructor = BASES[backbone]
    base = constructor(weights=weights, input_shape=(size, size, 3))
    base.trainable = False
    inputs = keras.Input((size, size, 3))
    x = keras.layers.RandomFlip("horizontal")(inputs)
    if backbone == "mobilenet":
        x = keras.layers.Rescaling(scale=1 / 127.5, offset=-1)(x)
    else:
        x = keras.applications.resnet50.preprocess_input(x)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(DROPOUT)(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x)), base


def train(model: keras.Model, datasets: dict, phase: str, epochs: int, verbose: int) -> dict:
    """Compiles and fits one phase.

    Returns:
        its name, epochs, learning rate, validation accuracy after its last epoch, and wall-clock seconds, in which
        tracing the graph and validating after every epoch are included, in all and by epoch.
    """
    start = time.perf_counter()
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATES[phase]),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    # The dataset shuffles itself; fit warns where it is not told so.
    ends: list[float] = []
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter() - start))
    history = model.fit(
        datasets["train"],
        epochs=epochs,
        validation_data=datasets["validation"],
        shuffle=False,
        verbose=verbose,
        callbacks=[told],
    )
    return {
        "phase": phase,
        "epochs": epochs,
        "learning_rate": LEARNING_RATES[phase],
        "validation_accuracy": history.history["val_accuracy"][-1],
        "seconds": time.perf_counter() - start,
        "epoch_seconds": [end - begun for begun, end in zip([0.0, *ends], ends, strict=False)],
    }


def run(
    data_dir: str | None = None,
    examples: int | None = None,
    epochs: Sequence[int] = (5, 3),
    batch_size: int = 64,
    seed: int = 0,
    verbose: int = 2,
    backbone: str = "mobilenet",
    weights: str | None = "imagenet",
) -> dict:
    """Runs both phases and the test, or the first one alone.

    Args:
        data_dir: the folder of TensorFlow Datasets; None is its default.
        examples: use this many training examples, a tenth of them to validate; None is all 50,000.
        epochs: of the phase on the frozen base and of the phase that trains all of it; 0 for the latter ends with
            the former, untested.
        batch_size: examples a batch.
        seed: of Python, NumPy, TensorFlow and the training order.
        verbose: as in `keras.Model.fit`.
        backbone: `mobilenet` or `resnet50`.
        weights: `imagenet`, or None for random ones.

    Returns:
        what was run, `phases` as `train` returns them, `test_accuracy`, and `seconds` in all: data, building, both
        phases and the test.
    """
    start = time.perf_counter()
    keras.utils.set_random_seed(seed)
    datasets, counts = load(data_dir, examples, batch_size, seed, BASES[backbone][0])
    model, base = build(backbone, weights)
    phases, tested = [train(model, datasets, "head", epochs[0], verbose)], {}
    if epochs[1]:
        base.trainable = True
        phases.append(train(model, datasets, "full", epochs[1], verbose))
        tested["test_accuracy"] = model.evaluate(datasets["test"], return_dict=True, verbose=0)["accuracy"]
    return {
        "recipe": "keras_guide",
        "dataset": "cifar10",
        "backbone": {"mobilenet": "mobilenet(alpha=0.25)"}.get(backbone, backbone),
        "image_size": BASES[backbone][0],
        "batch_size": batch_size,
        "seed": seed,
        "examples": counts,
        "phases": phases,
        **tested,
        "seconds": time.perf_counter() - start,
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }


def table(result: dict) -> str:
    """Returns the result as a Markdown table."""
    rows = ["| phase | epochs | validation accuracy | test accuracy | seconds |", "|---|---:|---:|---:|---:|"]
    for phase in result["phases"]:
        accuracy = f"{phase['validation_accuracy']:.4f}"
        rows.append(f"| {phase['phase']} | {phase['epochs']} | {accuracy} | | {phase['seconds']:.1f} |")
    tested = f"{result['test_accuracy']:.4f}" if "test_accuracy" in result else ""
    rows.append(f"| in all | | | {tested} | {result['seconds']:.1f} |")
    return "\n".join(rows)


def _epochs(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts) or int(parts[0]) < 1:
        raise argparse.ArgumentTypeError(f"expected two whole numbers such as 5,3, or 5,0, got {text!r}")
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
    parser.add_argument("--backbone", choices=BASES, default="mobilenet", help="default: mobilenet")
    parser.add_argument("--weights", choices=("imagenet", "random"), default="imagenet", help="default: imagenet")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    args = parser.parse_args()
    if args.examples is not None and args.examples < 20:
        parser.error(f"--examples={args.examples}: at least 20 are needed to train and validate")
    weights = None if args.weights == "random" else args.weights
    result = run(
        args.data_dir, args.examples, args.epochs, args.batch_size, args.seed, backbone=args.backbone, weights=weights
    )
    text = json.dumps(result, indent=2)
    print(table(result), text, sep="\n\n")
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
