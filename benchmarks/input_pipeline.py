"""Times the way of the pictures to the device: ours against TensorFlow Datasets with a resize in the map.

python -m benchmarks.input_pipeline [--quick] [--json=FILE] [--shared=../shared/data]
"""

import argparse
from collections.abc import Mapping

from benchmarks import networks, runner
from benchmarks.timing import compare, in_turns

BATCH, SIZE = 128, 224
NAIVE, OURS, RESIZED = "TFDS, .map(resize)", "ours, uint8 to the device", "ours, and resized there"


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: seconds for the same pictures, and how fast a network takes them."""
    import numpy as np
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from tf_transfer.data.splits import Split
    from tf_transfer.data.streams import Stream, Streams
    from tf_transfer.modalities.image import preprocessing

    count = 2_560 if args.quick else 12_800
    train = tfds.load("cifar10", split="train", data_dir=str(args.shared / "tfds"), as_supervised=True)
    images, labels = (np.array(part) for part in zip(*train.take(count).as_numpy_iterator(), strict=True))
    split = Split(images, labels.astype(np.int32), [""] * count)
    ours = Streams({"train": Stream(split, BATCH, weights=np.ones(count, np.float32))}, 0)
    steps = count // BATCH
    naive = train.take(count).shuffle(10_000).map(lambda x, y: (tf.image.resize(x, (SIZE, SIZE)), y), tf.data.AUTOTUNE)
    naive = naive.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    resize = tf.function(lambda x: preprocessing.resize(x, SIZE), autograph=False)

    def run(dataset, function=lambda x: x):
        for batch in dataset.take(steps):
            function(batch["train"]["inputs"] if isinstance(batch, dict) else batch[0])

    functions = {
        NAIVE: lambda: run(naive),
        OURS: lambda: run(ours.dataset(0, steps)),
        RESIZED: lambda: run(ours.dataset(0, steps), resize),
    }
    _, classifier = networks.network("mobilenet(alpha=0.25)", SIZE, "float32")
    given = networks.pictures(BATCH, 32)
    forward = networks.waiting(tf.function(lambda: classifier.features(given), autograph=False))
    return {
        "pictures": steps * BATCH,
        "rows": compare(in_turns(functions, 2 if args.quick else 5, warm=1), NAIVE),
        "forward_pictures_per_second": BATCH
        / compare(in_turns({"forward": forward}, 5), "forward")["forward"]["seconds"],
    }


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    speed = record["pictures"] / record["rows"][OURS]["seconds"]
    taken = record["forward_pictures_per_second"]
    return [
        "## The input pipeline",
        "",
        f"CIFAR-10 in batches of {BATCH} for a network at {SIZE} px. The pictures go to the device as uint8 of their "
        "own size and are resized there, whole batches at a time, as a part of the step. The fastest network of these "
        f"pages, MobileNet(0.25), takes {taken:,.0f} pictures/s forward alone: 1 in {speed / taken:.0f} of what comes.",
        "",
        *runner.timed_rows(record["rows"], record["pictures"]),
        "",
        *runner.targets(record["rows"], [(OURS, NAIVE, 20)], where=""),
    ]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
