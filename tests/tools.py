"""What the tests of the command line share: fresh processes, a small run, pictures to draw."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

import filelock
import numpy as np
import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]

# A run of seconds: 30 digits to train on, 10 to validate.
TINY = {
    "dataset": "digits",
    "backbone": "small_resnet",
    "weights": "random",
    "examples_per_class": 4,
    "validation_fraction": 0.25,
    "epochs": 2,
    "precision": "float32",
}

# The smallest registered backbone of each family, that is of each module of keras.applications.
ONE_A_FAMILY = (
    "convnext_tiny", "densenet121", "efficientnetb0", "efficientnetv2b0", "inception_resnet_v2", "inception_v3",
    "mobilenet", "mobilenet_v2", "mobilenet_v3_small", "nasnet_mobile", "resnet50", "resnet50v2", "small_resnet",
    "vgg16", "vgg19", "xception",
)  # fmt: skip

# An environment in which no download can succeed, and none is waited for.
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")

# First lines of a program in which the packages of the set HIDDEN are as if not installed. (TensorFlow looks for
# Keras at its own import, and does without.)
HIDE = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""


def by_tier(names: Iterable, always: Collection) -> list:
    """Parameters of a test: those of `always` in every run, the other names with `--all`."""
    return [name if name in always else pytest.param(name, marks=pytest.mark.large) for name in names]


def flags(**options) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def run_py(*arguments: str, cwd: Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess:
    """Runs `python run.py ...` as a process of its own; in an environment of its own from the start, else as a fork."""
    here = {name: value for name, value in os.environ.items() if name not in ("PYTEST_CURRENT_TEST", "PWD")}
    if environment or here != _zygote().environment:
        return python(str(ROOT / "run.py"), *arguments, cwd=cwd, timeout=timeout, **environment)
    return _zygote().run(arguments, cwd, timeout)


class _Zygote:
    """The process of `zygote.py`, and the environment in which it began."""

    def __init__(self):
        self.environment = {k: v for k, v in os.environ.items() if k not in ("PYTEST_CURRENT_TEST", "PWD")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, str(ROOT / "tests/zygote.py")], **pipes)
        self._folder = tempfile.TemporaryDirectory()

    def run(self, arguments: Collection[str], cwd: Path, timeout: float) -> subprocess.CompletedProcess:
        """Runs a command; kills it where it takes longer than `timeout` seconds."""
        out, err = (Path(self._folder.name) / name for name in ("out", "err"))
        asked = {"arguments": arguments, "cwd": str(cwd), "environment": self.environment}
        print(json.dumps(asked | {"out": str(out), "err": str(err)}), file=self._process.stdin, flush=True)
        pid = json.loads(self._process.stdout.readline())["pid"]
        killing = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
        killing.start()
        status = json.loads(self._process.stdout.readline())["status"]
        killing.cancel()
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess([*arguments], code, out.read_text(), err.read_text())


@functools.cache
def _zygote() -> _Zygote:
    return _Zygote()


def python(*arguments: str, cwd: Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def heed_interrupts() -> None:
    """For `preexec_fn`: where tests run in the background of a shell, SIGINT is ignored, and would be by a child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def assert_refused(done: subprocess.CompletedProcess, *patterns: str) -> None:
    """Bad input: exit code 2 and one line on standard error that matches the patterns."""
    assert done.returncode == 2, done
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    for pattern in patterns:
        assert re.search(pattern, done.stderr), done.stderr


def tiny_run(tmp_path_factory) -> Path:
    """A run directory with everything in it, made once for all workers in one fresh process; not to be changed."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny"
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            done = run_py("--phase=all", "--run_dir=run", *flags(**TINY), cwd=folder)
            assert done.returncode == 0, done
    assert (folder / "run/saved_model").is_dir(), "it failed in the other worker"
    return folder / "run"


def exported(run: Path) -> str:
    """The model of a run that validation chose for the export."""
    return json.loads((run / "saved_model/done.json").read_text())["model"]


def draw_shapes(folder: Path, per_class: int, size: int = 64, names=("circle", "square", "triangle")) -> Path:
    """Draws a folder data set: one shape a class, its place and colour at random."""
    random = np.random.default_rng(0)
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            shape_picture(random, number, size).save(folder / name / f"{i}.png")
    return folder


def shape_picture(random: np.random.Generator, kind: int, size: int) -> Image.Image:
    picture = Image.new("RGB", (size, size), tuple(random.integers(0, 80, 3).tolist()))
    x, y = random.integers(0, size // 3, 2).tolist()
    side, colour = size // 2, tuple(random.integers(120, 256, 3).tolist())
    draw = ImageDraw.Draw(picture)
    if kind % 3 == 0:
        draw.ellipse((x, y, x + side, y + side), fill=colour)
    elif kind % 3 == 1:
        draw.rectangle((x, y, x + side, y + side), fill=colour)
    else:
        draw.polygon(((x, y + side), (x + side, y + side), (x + side // 2, y)), fill=colour)
    return picture


def supervised(
    classifier, split=None, phase="full", validation=None, strategy=None, weights=None, offsets=None, **options
):
    """The supervised method on a setting of a test: nothing of the plan is left open, and what is not given is off.

    Args:
        classifier: what trains.
        split: what it trains on; None where the test brings its own batches.
        phase: name of the phase.
        validation: split that validates.
        strategy: by default the first device.
        weights: float32 `[C]`, of the classes.
        offsets: float32 `[C]`, which the loss adds to the logits.
        **options: of the plan, and `on_features`.
    """
    from tf_transfer import methods
    from tf_transfer.config import Training
    from tf_transfer.data.training_data import TrainingData
    from tf_transfer.machine.strategy import make_strategy
    from tf_transfer.modalities import base
    from tf_transfer.phases.catalogue import PHASES
    from tf_transfer.training.method import Setting
    from tf_transfer.training.problem import CLASSIFICATION

    on_features = options.pop("on_features", False)
    plain = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1, "optimizer": "sgd", "warmup": 0.0, "bn": "train"}
    plain |= {"regularizer": "none", "augment": "none", "feature_views": 0, "ema": 0.0, "clip_norm": 0.0}
    weights = np.ones(classifier.num_classes, np.float32) if weights is None else weights
    names = tuple(map(str, range(classifier.num_classes)))
    data = TrainingData(split, validation, names, weights, class_offsets=offsets)
    plan, where = Training(**plain | options), strategy or make_strategy("one")
    return methods.create(
        "supervised",
        Setting(classifier, data, plan, PHASES[phase], base.find("image"), CLASSIFICATION, where, on_features),
    )
