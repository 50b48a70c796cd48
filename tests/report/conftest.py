"""Made-up but plausible records of a run, built from real scores of made-up predictions."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tf_transfer.evaluation import score

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
# What each model adds to the right class's logit, and by how much it exaggerates.
SKILL = {"source": (0.6, 1.0), "head": (3.4, 0.9), "full": (4.9, 1.9), "scratch": (3.7, 1.2)}
# Epochs, validation accuracy at the start and the end, trained parameters, seconds.
BUDGET = {
    "head": (5, 0.52, 0.69, 2570, 98.4),
    "full": (8, 0.70, 0.88, 218_410, 512.0),
    "scratch": (13, 0.25, 0.74, 218_410, 640.2),
}
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\" onmouseover='alert(3)'",
    "n" * 300,
    "مرحبا بالعالم",
    "עברית \u202e right to left",
    "🦊🦝 fox & racoon",
    "日本語のクラス",
    "$\\frac{1}{2}$ {{ 7 * 7 }} %s {0}",
    "two\nlines\x1b[31m",
    "",
]


def fake_metrics(model, class_names, n=2000):
    """Scores made-up predictions in which neighbouring classes are confused more often than others."""
    rng = np.random.default_rng(sorted(SKILL).index(model))
    c = len(class_names)
    skill, sharpness = SKILL[model]
    labels = rng.choice(c, n, p=rng.dirichlet(np.full(c, 30.0)))
    logits = rng.normal(size=(n, c)) * 1.4
    distance = np.abs(np.arange(c) - labels[:, None])
    logits += skill * np.exp(-distance * rng.uniform(0.9, 3, c)[labels, None])
    return score(logits * sharpness, labels, class_names)


def fake_picture(seed, size=32):
    """Returns a small PNG of smooth noise, base64."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((size, size), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def fake_epochs(phase, epochs, first, last, validation):
    """Accuracy rises from `first` to `last`; training a little behind, then ahead."""
    rng = np.random.default_rng(epochs)
    for e in range(1, epochs + 1):
        done = 1 - np.exp(-2.2 * e / epochs)
        accuracy = float(first + (last - first) * done / (1 - np.exp(-2.2)) + rng.normal() * 0.004)
        measured = {"validation_loss": float(-np.log(accuracy)), "validation_accuracy": accuracy}
        yield {
            **{"kind": "epoch", "phase": phase, "epoch": e, "epochs": epochs, "step": 352 * e},
            **{"train_loss": float(-np.log(accuracy + 0.03 * done)), "train_accuracy": accuracy + 0.05 * done - 0.02},
            **(measured if validation else dict.fromkeys(measured)),
            **{"learning_rate": 0.1 * (1 - e / epochs), "images_per_second": 2310.0 - 3 * e, "seconds": 19.5 + e / 7},
        }


def fake_top_losses(class_names, k):
    """Confident mistakes."""
    rng = np.random.default_rng(8)
    pairs = [rng.choice(len(class_names), 2, replace=False) for _ in range(k)]
    return [
        {
            **{"name": f"cifar10/test#{37 * i + 5}", "label": class_names[a], "predicted": class_names[b]},
            **{"probability": 0.999 - 0.004 * i, "loss": 9.1 - 0.2 * i, "png": fake_picture(i)},
        }
        for i, (a, b) in enumerate(pairs)
    ]


def build(class_names=tuple(CIFAR), phases=("source", "head", "full", "scratch"), validation=True, n=2000):
    """Returns the records of a run of the given phases, as the lines of its records.jsonl.

    Args:
        class_names: any names; 2 or more.
        phases: the models that exist; `head`, `full` and `scratch` were trained.
        validation: the data has a validation split.
        n: number of test examples.
    """
    class_names = list(class_names)
    records = fake_start(class_names, validation, n)
    for phase in [p for p in phases if p in BUDGET]:
        records += fake_phase(phase, validation)
    for model in phases:
        evaluation = {"kind": "evaluation", "phase": "evaluate", "model": model, "split": "test", "seconds": 4.2}
        evaluation["metrics"] = fake_metrics(model, class_names, n)
        records.append(evaluation | {"top_losses": fake_top_losses(class_names, 12)})
    if {"head", "full"} <= set(phases):
        counts = {"only_a": 412, "only_b": 131, "p_value": 1.2e-34}
        records.append({"kind": "comparison", "split": "test", "a": "full", "b": "head", **counts})
    parity = {"n": 2000, "split": "test", "max_probability_difference": 3.1e-7, "argmax_agreement": 1.0}
    export = {"kind": "export", "path": "saved_model/1", "bytes": 1_310_400, "parity": parity}
    export["calibration"] = {"temperature": 1.31, "low": 1.2, "high": 1.44, "n": 500}
    export["latency"] = {"1": {"low": 0.002, "value": 0.0025, "high": 0.004}}
    records.append(export | {"signatures": ["serving_default", "serve_bytes"]})
    records.append({"kind": "warning", "phase": "head", "text": "1 test picture also stands in the training data."})
    return [{"time": f"2025-03-04T10:{i // 60:02d}:{i % 60:02d}+00:00"} | r for i, r in enumerate(records)]


def fake_start(class_names, validation, n):
    """What stands before the first phase."""
    versions = {"tensorflow": "2.21.0", "keras": "3.15.1", "python": "3.11.7", "tf_transfer": "1.0.0"}
    command = "python run.py --flagfile=flags/cifar10.cfg --phase=head,full --run_dir='my run'"
    notes = {
        "unreadable": ["broken/one.jpg", "broken/<b>two</b>.jpg"],
        "duplicates": ["train: cifar10/train#12 = test: cifar10/test#881"],
    }
    splits = {"train": 45_000, "validation": 5_000 if validation else None, "test": n}
    device = {"devices": ["CPU"], "precision": "float32", "cores": 2}
    return [
        {"kind": "start", "phase": "head", "command": command, "versions": versions, "device": device},
        {"kind": "data", "class_names": class_names, "splits": splits, "notes": notes, "stored_size": [32, 32]},
    ]


def fake_phase(phase, validation):
    """One phase from its plan to its end; full begins with a search for its learning rate."""
    epochs, first, last, trained, seconds = BUDGET[phase]
    plan = {"epochs": epochs, "learning_rate": 0.1, "batch_size": 128, "optimizer": "sgd(momentum=0.9)", "ema": None}
    yield {"kind": "plan", "phase": phase, "plan": plan, "parameters": {"trained": trained, "total": 220_980}}
    if phase == "full":
        rates = np.geomspace(1e-4, 1, 60)
        losses = 1.1 - 0.45 / (1 + (0.01 / rates) ** 1.5) + 3 * np.maximum(0, np.log10(rates / 0.15)) ** 2
        found = {"rates": rates.tolist(), "losses": losses.tolist(), "suggestion": 0.03}
        yield {"kind": "lr_find", "phase": phase, **found}
    yield from fake_epochs(phase, epochs, first, last, validation)
    best = {"best_epoch": epochs - 1, "validation_accuracy": last if validation else None}
    yield {"kind": "phase_end", "phase": phase, "seconds": seconds, **best, "stopped_early": phase == "full"}


CONFIG = {
    "data": {"dataset": "cifar10", "validation_fraction": 0.1, "seed": 0, "examples_per_class": None},
    "model": {"backbone": "mobilenet(alpha=0.25)", "weights": "imagenet", "size": 96},
    "full": {"epochs": 8, "learning_rate": 0.02},
}


@pytest.fixture
def build_records():
    """The builder of made-up records."""
    return build


@pytest.fixture
def config():
    """The configuration that goes with the records."""
    return CONFIG


@pytest.fixture
def hostile_names():
    """Class names that try to break out of HTML, of the layout, of the terminal and of templates."""
    return HOSTILE


@pytest.fixture(scope="session")
def full_records():
    """Records of a complete run; not to be changed."""
    return build()


@pytest.fixture(scope="session")
def small_records():
    """The same of three classes, which draws faster."""
    return build(["cat", "dog", "fox"], n=60)
