"""Times the Predictor against the bare SavedModel: decoded pictures, and files.

python -m benchmarks.predicting [--quick] [--json=FILE] [--shared=../shared/data]
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import runner
from benchmarks.timing import compare, in_turns

BACKBONE, SIZE, BATCH = "mobilenet(alpha=0.25)", 96, 32
STREAM, STACK = "Predictor.stream", "Predictor.predict of one array"
BARE, LOOP, BYTES = "serving_default", "a loop: decode, serving_default", "serve_bytes"


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: for each kind of pictures the alternatives, which took turns."""
    from tf_transfer import serving

    count = BATCH * (4 if args.quick else 32)
    with tempfile.TemporaryDirectory() as folder, serving.Predictor(_exported(args.shared, folder), BATCH) as predictor:
        groups = _groups(predictor, args.shared, count)
        every = {(group, name): run for group, (_, runs) in groups.items() for name, run in runs.items()}
        seconds = in_turns(every, 2 if args.quick else 9, warm=1)
        rows = {
            group: compare({name: seconds[group, name] for name in runs}, baseline)
            for group, (baseline, runs) in groups.items()
        }
    return {"pictures": count, "baselines": {group: baseline for group, (baseline, _) in groups.items()}, "rows": rows}


def _exported(shared: Path, folder: str) -> Path:
    """Exports the flowers' head, as a user does."""
    command = [sys.executable, "run.py", "--phase=head,export", f"--dataset={shared / 'flowers'}"]
    command += [f"--backbone={BACKBONE}", f"--image_size={SIZE}", f"--run_dir={folder}/run"]
    subprocess.run(command, cwd=runner.ROOT, check=True, stdout=sys.stderr)
    return Path(folder) / "run"


def _groups(predictor, shared: Path, count: int) -> dict[str, tuple[str, dict[str, Callable]]]:
    """Returns for each kind of pictures its baseline and what is to be timed; all give answers as numpy arrays."""
    import numpy as np
    import tensorflow as tf

    loaded = tf.saved_model.load(str(predictor.path))
    images, contents = loaded.signatures["serving_default"], loaded.signatures["serve_bytes"]
    files = sorted(map(str, (shared / "flowers").rglob("*.jpg")))
    files = files[:: len(files) // count][:count]

    def read(file):
        return Path(file).read_bytes()

    def batches(values):
        return [values[start : start + BATCH] for start in range(0, count, BATCH)]

    def answered(answer):
        return answer["label"].numpy(), answer["probabilities"].numpy()

    def bare(stack):
        return lambda: [answered(images(images=tf.constant(batch))) for batch in batches(stack)]

    def loop():
        for batch in batches(files):
            stack = np.stack([loaded.decode(tf.constant(read(file))).numpy() for file in batch])
            answered(images(images=tf.constant(stack)))

    def by_bytes():
        for batch in batches(files):
            answered(contents(contents=tf.constant([read(file) for file in batch])))

    decoded = np.stack([loaded.decode(tf.constant(read(file))).numpy() for file in files])
    small = np.ascontiguousarray(decoded[:, ::3, ::3])

    def arrays(stack):
        return {
            BARE: bare(stack),
            STREAM: lambda: list(predictor.stream(list(stack))),
            STACK: lambda: predictor.predict(stack),
        }

    by_file = {LOOP: loop, STREAM: lambda: list(predictor.stream(files)), BYTES: by_bytes}
    return {
        f"arrays of {SIZE} px": (BARE, arrays(decoded)),
        f"arrays of {SIZE // 3} px": (BARE, arrays(small)),
        "JPEG files of 128 px": (LOOP, by_file),
    }


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    lines = [
        "## Predicting",
        "",
        f"{record['pictures']:,} flowers with {BACKBONE} at {SIZE} px, in batches of {BATCH}: what `Predictor` costs "
        "over the bare SavedModel, given pictures that are decoded and stacked, and over a loop that decodes files "
        "with the model's `decode` and stacks them. Ratios are to the first row.",
    ]
    for group, rows in record["rows"].items():
        lines += ["", f"**{group}**", "", *runner.timed_rows(rows, record["pictures"])]
    lines.append("")
    for group, rows in record["rows"].items():
        lines += runner.targets(rows, [(STREAM, record["baselines"][group], 0.9)], f"{group}, ", where="")
    files = record["rows"]["JPEG files of 128 px"]
    return [
        *lines,
        f"- JPEG files of 128 px, {STREAM} against {BYTES}: {files[STREAM]['ratio'] / files[BYTES]['ratio']:.2f}.",
    ]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
