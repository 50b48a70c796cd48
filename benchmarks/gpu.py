"""Measures the flagship on one GPU: steps and passes against Keras and PyTorch, the head's solver, whole runs.

    python -m benchmarks.gpu [--only=steps,...] [--pictures=FOLDER] [--json=FILE]     # on the machine with the GPU
    python -m benchmarks.gpu --take=FILE                                              # into docs/performance.md

Every case is a process of its own, so that one that fails or runs out of time costs no other. PyTorch may need another
environment than TensorFlow: `--torch_path` is the PYTHONPATH of its processes. `--size`, `--batch` and `--rows` make it
small enough to be rehearsed on a CPU, where no figure counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import networks, runner
from tf_transfer.machine import timing as machine

# Cases in the order in which they run: seconds after which one is stopped.
CASES = {
    "step, trained, XLA": 90, "step, trained, plain": 60, "step, frozen, XLA": 60, "Keras step, trained, jit": 90,
    "PyTorch step, trained": 60, "PyTorch step, trained, compiled": 120, "pass, XLA": 60, "pass, plain": 45,
    "PyTorch pass": 45, "PyTorch pass, compiled": 90, "head": 60, "run, first time": 180, "run, again": 120,
}  # fmt: skip
# What is divided by what, and the ratio to reach.
TARGETS = (
    ("step, trained, XLA", "Keras step, trained, jit", 1.5),
    ("step, trained, XLA", "PyTorch step, trained", 1.25),
    ("step, trained, XLA", "PyTorch step, trained, compiled", 1.0),
    ("step, trained, plain", "PyTorch step, trained", 0.8),
    ("pass, XLA", "PyTorch pass, compiled", 1.2),
)
_STEPS = 20


def timed(call: Callable[[], object], wait: Callable[[object], object], batch: int) -> dict:
    """Returns seconds of the first call, and of one of `_STEPS` calls that are waited for together."""
    (first,) = machine.timed(lambda: wait(call()))
    for _ in range(3):
        wait(call())
    begun = time.perf_counter()
    for _ in range(_STEPS):
        last = call()
    wait(last)
    seconds = (time.perf_counter() - begun) / _STEPS
    return {"first": first, "seconds": seconds, "per_second": batch / seconds}


def step(args: argparse.Namespace, policy: str, xla: bool) -> dict:
    """Times a training step of ours."""
    from benchmarks import full_step

    launch = full_step.launcher("resnet50", args.size, args.batch, "bfloat16", policy, xla)
    return timed(launch, lambda found: float(found[0]), args.batch)


def keras_step(args: argparse.Namespace) -> dict:
    """Times the training step of a compiled Keras model, as `fit` runs it."""
    import keras
    import numpy as np
    import tensorflow as tf

    plain, _ = networks.network("resnet50", args.size, "bfloat16")
    model = keras.Sequential([keras.Input((args.size, args.size, 3)), plain, keras.layers.Dense(10, dtype="float32")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3, 0.9, nesterov=True), loss, jit_compile=True)
    images = tf.cast(networks.pictures(args.batch, args.size), tf.float32)
    labels = tf.constant(np.arange(args.batch) % 10, tf.int32)
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat().prefetch(2))
    return timed(lambda: model.train_function(batches), lambda found: float(found["loss"]), args.batch)


def forward(args: argparse.Namespace, xla: bool) -> dict:
    """Times a pass of the frozen, folded network of ours."""
    import tensorflow as tf

    _, ours = networks.network("resnet50", args.size, "bfloat16")
    ours.xla = xla
    images = networks.pictures(args.batch, args.size)
    run = tf.function(lambda x: tf.reduce_sum(ours.features(x)), autograph=False)
    return timed(lambda: run(images), float, args.batch)


def torch_case(args: argparse.Namespace, compiled: bool, training: bool) -> dict:
    """Times torchvision's ResNet-50, channels last, under autocast to bfloat16."""
    import torch
    import torchvision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    model = torchvision.models.resnet50(num_classes=10).to(device, memory_format=torch.channels_last)
    model = model.train() if training else model.eval().bfloat16()
    call = torch.compile(model) if compiled else model
    images = torch.randint(0, 256, (args.batch, 3, args.size, args.size), device=device, dtype=torch.uint8)
    labels = torch.arange(args.batch, device=device) % 10
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, nesterov=True)

    def scaled(kind):
        return (images.to(kind) / 127.5 - 1).to(memory_format=torch.channels_last)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            logits = call(scaled(torch.float32))
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss

    def predict():
        with torch.inference_mode():
            return call(scaled(torch.bfloat16)).sum()

    return timed(step if training else predict, float, args.batch)


def head(args: argparse.Namespace) -> dict:
    """Times the solver of the head: `--rows` x 2,048 features, ten classes, the nine strengths."""
    import numpy as np

    from tf_transfer.data.splits import Split
    from tf_transfer.features import solver
    from tf_transfer.features.extract import Standardizer

    random = np.random.default_rng(0)
    labels = random.integers(0, 10, args.rows).astype(np.int32)
    inputs = random.normal(size=(10, 2048))[labels] * 0.05 + random.gamma(1.0, 1.0, (args.rows, 2048))
    inputs = inputs.astype(np.float32)
    problem = solver.Problem(Split(inputs, labels, [""] * args.rows), Standardizer(inputs), np.ones(args.rows), 10)
    told: list[dict] = []
    (seconds,) = machine.timed(lambda: solver.solve(problem, np.geomspace(1.0, 1e-4, 9), log=told.append))
    path = [{"l2": r["l2"], "iterations": r["iterations"], "loss": r["train_loss"]} for r in told]
    return {"seconds": seconds, "path": path}


def whole_run(args: argparse.Namespace, work: str) -> dict:
    """Times `--phase=all` on a folder of pictures, MobileNet(0.25) at 96 px."""
    command = [sys.executable, "run.py", "--phase=all", f"--dataset={args.pictures}", "--weights=random"]
    command += ["--backbone=mobilenet(alpha=0.25)", "--input_size=96", f"--run_dir={work}/{time.time()}"]
    command += [f"--xla_cache={work}/xla", "--feature_store=off"]
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=runner.ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return {"seconds": seconds, "xla": [line for line in done.stdout.splitlines() if line.startswith("xla")]}


def case(args: argparse.Namespace) -> dict:
    """Runs one case in this process."""
    name, xla, work = args.case, args.case.endswith("XLA"), args.work
    if name.startswith("step"):
        return step(args, "train" if "trained" in name else "frozen", xla)
    if name.startswith("PyTorch"):
        return torch_case(args, name.endswith("compiled"), "step" in name)
    if name.startswith("pass"):
        return forward(args, xla)
    if name.startswith("run"):
        return whole_run(args, work)
    return head(args) if name == "head" else keras_step(args)


def measure(args: argparse.Namespace) -> dict:
    """Runs the cases, a process each; one that fails keeps its last line."""
    found: dict[str, dict] = {}
    names = [name for name in CASES if not args.only or any(name.startswith(part) for part in args.only.split(","))]
    with tempfile.TemporaryDirectory() as work:
        for name in [n for n in names if args.pictures or not n.startswith("run")]:
            command = [sys.executable, "-m", "benchmarks.gpu", f"--case={name}", f"--work={work}"]
            command += [f"--{k}={getattr(args, k)}" for k in ("size", "batch", "rows", "pictures")]
            environment = dict(os.environ)
            if name.startswith("PyTorch") and args.torch_path is not None:
                environment["PYTHONPATH"] = args.torch_path
            try:
                done = subprocess.run(
                    command, cwd=runner.ROOT, env=environment, capture_output=True, text=True, timeout=CASES[name],
                    check=False,
                )  # fmt: skip
                last = (done.stdout.strip() or done.stderr.strip() or "no output").splitlines()[-1]
                found[name] = json.loads(last) if not done.returncode else {"failed": done.stderr[-300:]}
            except subprocess.TimeoutExpired:
                found[name] = {"failed": f"not done after {CASES[name]} s"}
            print(name, found[name], file=sys.stderr, flush=True)
    sizes = {"size": args.size, "batch": args.batch, "rows": args.rows}
    return {"cases": found, "gpu": _gpu(), **sizes}


def _gpu() -> str:
    """Returns the name of the GPU, its driver's version; `none` where there is none."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip() or "none"
    except (OSError, subprocess.CalledProcessError):
        return "none"


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    cases, rows = record["cases"], []
    for name, found in cases.items():
        if "failed" in found:
            rows.append((name, "failed", "", " ".join(found["failed"].split())[-120:]))
        elif "per_second" in found:
            figures = f"{1000 * found['seconds']:.1f} ms", f"{found['per_second']:,.0f}/s"
            rows.append((name, *figures, f"first call {found['first']:.1f} s"))
        else:
            rows.append((name, f"{found['seconds']:.1f} s", "", "; ".join(found.get("xla", []))))
    lines = [
        "## On a GPU",
        "",
        f"{record['gpu']}; ResNet-50, {record['size']} px, batch {record['batch']}, bfloat16.{_more(record)}",
        "",
        *runner.table(("case", "time", "pictures", ""), rows),
        "",
    ]
    for ours, other, wanted in TARGETS:
        if all("per_second" in cases.get(name, {}) for name in (ours, other)):
            ratio = cases[ours]["per_second"] / cases[other]["per_second"]
            told = "reached" if ratio >= wanted else "not reached"
            lines.append(f"- {ours} against {other}: {ratio:.2f}; to reach, {wanted:g}: {told}.")
    return lines


def _more(record: Mapping) -> str:
    """Returns what the cases beside those of ResNet-50 are of."""
    told = ""
    if "head" in record["cases"]:
        told += f" The head on {record['rows']:,} x 2,048 features, nine strengths."
    if any(name.startswith("run") for name in record["cases"]):
        told += " Whole runs with MobileNet(0.25), 96 px, on a folder of pictures."
    return told


def _take(file: Path) -> None:
    """Puts a record that was made on another machine into docs/performance.json and the page."""
    from benchmarks import performance

    record = json.loads(file.read_text())
    runner.refresh("performance", "gpu", {"gpu": lambda: record}, performance.render, record["date"])


def main() -> None:
    """Runs the command line, see the module."""
    parser = runner.options(__doc__)
    parser.add_argument("--only", default="", help="cases whose names begin like one of these, separated by commas")
    parser.add_argument("--case", help="run this one in this process")
    parser.add_argument("--work", default="", help="folder of the runs, of --case")
    parser.add_argument("--pictures", default="", help="folder of pictures by class, for the whole runs")
    parser.add_argument("--torch_path", help="PYTHONPATH of the processes that need PyTorch")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record here")
    parser.add_argument("--take", type=Path, metavar="FILE", help="a record from another machine, for the page")
    for name, default in (("size", 224), ("batch", 256), ("rows", 50_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(case(args)))
    elif args.take:
        _take(args.take)
    else:
        record = measure(args) | runner.machine()
        print("\n".join(render(record)))
        if args.json:
            args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
