"""Times a training step of the whole network: ours against Keras' own and PyTorch's, statistics frozen and trained.

python -m benchmarks.full_step [--quick] [--json=FILE]
"""

import argparse
from collections.abc import Callable, Mapping

from benchmarks import networks, runner
from benchmarks.timing import compare, in_turns

TARGETS = {"frozen": ("Keras, bfloat16", 1.6), "train": ("Keras, bfloat16", 2.0)}


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: for each network and policy the alternatives."""
    found = {}
    for spec, size, batch, rounds in networks.cases(args.quick):
        for policy in TARGETS:
            functions = {}
            for precision in networks.PRECISIONS:
                made = _tensorflow(spec, size, batch, policy, precision)
                functions |= {f"{name}, {precision}": f for name, f in made.items()}
            if spec == "resnet50":
                functions |= _torch(batch, size, policy)
            rows = compare(in_turns(functions, rounds), "Keras, float32")
            found[f"{spec}, BatchNorm {policy}"] = {"size": size, "batch": batch, "policy": policy, "rows": rows}
    return {"cases": found}


def _tensorflow(spec: str, size: int, batch: int, policy: str, precision: str) -> dict[str, Callable]:
    import keras
    import numpy as np
    import tensorflow as tf

    plain, _ = networks.network(spec, size, precision)
    if policy == "frozen":
        for layer in plain.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    top = keras.layers.Dense(10, dtype="float32")
    model = keras.Sequential([keras.Input((size, size, 3)), plain, top])
    model.compile(
        keras.optimizers.SGD(1e-3, 0.9, nesterov=True), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    images = tf.cast(networks.pictures(batch, size), tf.float32)
    labels = tf.constant(np.arange(batch) % 10, tf.int32)
    return {
        "Keras": lambda: model.train_on_batch(images, labels),
        "ours": stepper(spec, size, batch, precision, policy),
    }


def stepper(spec: str, size: int, batch: int, precision: str, policy: str = "train") -> Callable[[], object]:
    """Returns one step of the package's engine on a network of ours, with BatchNorm's statistics by `policy`."""
    launch = launcher(spec, size, batch, precision, policy)
    return lambda: float(launch()[0])


def launcher(
    spec: str, size: int, batch: int, precision: str, policy: str = "train", xla: bool = False
) -> Callable[[], tuple]:
    """Returns the same step; it does not wait for the loss, which it returns first."""
    import numpy as np
    import tensorflow as tf

    from tf_transfer import methods
    from tf_transfer.config import Training
    from tf_transfer.data.batches import DRAWS
    from tf_transfer.data.splits import Split
    from tf_transfer.data.training_data import TrainingData
    from tf_transfer.machine.strategy import make_strategy
    from tf_transfer.modalities import base
    from tf_transfer.phases.catalogue import PHASES
    from tf_transfer.training.method import Setting
    from tf_transfer.training.problem import CLASSIFICATION
    from tf_transfer.training.step import Stepper

    strategy = make_strategy("one")
    with strategy.scope():
        _, ours = networks.network(spec, size, precision)
    ours.xla = xla
    ours.set_batchnorm(policy)
    plan = Training(
        learning_rate=1e-3,
        batch_size=batch,
        optimizer="sgd",
        augment="none",
        regularizer="none",
        ema=0.0,
        clip_norm=0.0,
    )
    names = tuple(map(str, range(10)))
    data = TrainingData(Split(np.zeros((0, size, size, 3), np.uint8), None, []), None, names, np.ones(10, np.float32))
    method = methods.create(
        "supervised", Setting(ours, data, plan, PHASES["full"], base.find("image"), CLASSIFICATION, strategy)
    )
    with strategy.scope():
        step = Stepper(method, plan, {"train": batch}, strategy)
    images, labels = networks.pictures(batch, size), tf.constant(np.arange(batch) % 10, tf.int32)
    ready = {"inputs": images, "label": labels, "weight": tf.ones(batch), "uniform": tf.zeros((batch, DRAWS)),
             "row": tf.range(batch)}  # fmt: skip
    return lambda: step.launch({"train": ready}, 1e-3, 0)


def _torch(batch: int, size: int, policy: str) -> dict[str, Callable]:
    if networks.torch_resnet() is None:
        return {}
    import torch

    images = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10
    found = {}
    for name in ("PyTorch, bfloat16", "PyTorch, bfloat16, compiled"):
        model = networks.torch_resnet().train()
        if policy == "frozen":
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, nesterov=True)
        call = torch.compile(model) if name.endswith("compiled") else model

        def step(call=call, optimizer=optimizer):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                logits = call(images).logits
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
            loss.backward()
            optimizer.step()
            return loss.item()

        found[name] = step
    return found


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    parts = [
        "## A training step",
        "",
        "One step of SGD on the whole network: `train_on_batch` of a compiled Keras model, and the step of the package "
        "with statistics frozen (folded; gamma, beta, kernel and bias still train) and trained (fused kernel). "
        "Keras' frozen layers train no gamma and beta.",
    ]
    for name, case in record["cases"].items():
        parts += runner.case_rows(name, case)
        if name.startswith("resnet50"):
            other, times = TARGETS[case["policy"]]
            wanted = [("ours, bfloat16", other, times), ("ours, bfloat16", "PyTorch, bfloat16", 1.0),
                      ("ours, bfloat16", "PyTorch, bfloat16, compiled", 1.0)]  # fmt: skip
            parts += ["", *runner.targets(case["rows"], wanted)]
    return parts


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
