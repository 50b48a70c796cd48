"""A method from another package: two streams, a loss of the whole batch, a moving average in its state."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tools

from benchmarks import crash, distributed

# What somebody else's file looks like.
PLUG_IN = '''
import tensorflow as tf
from tf_transfer.data.streams import Stream
from tf_transfer.methods.supervised import Supervised
from tf_transfer.training import across
from tf_transfer.training.method import METHODS


@METHODS.register("aligned")
class Aligned(Supervised):
    """Supervised training that keeps mean features near those of another data set, whose labels it never sees."""

    of_batch = of_source = True
    of_features = False

    def __init__(self, setting, weight: float = 0.1):
        super().__init__(setting)
        self.weight = weight
        self.teacher = [tf.Variable(v, trainable=False) for g in self.groups() for v in g.variables]

    def streams(self):
        other = self.setting.source.train.unlabelled
        return super().streams() | {"other": Stream(other, 2 * self.plan.batch_size)}

    def state(self):
        return [*super().state(), *self.teacher]

    def loss(self, batch, noise, progress):
        found = super().loss(batch, noise, progress)
        means = [
            tf.reduce_mean(across.gather(self.model.features(batch[name]["inputs"], True, noise[name])), 0)
            for name in ("train", "other")
        ]
        apart = tf.reduce_sum(tf.square(means[0] - means[1]))
        return found._replace(batch=self.weight * progress * apart, measures={**found.measures, "apart": apart})

    def after(self, step):
        for teacher, student in zip(self.teacher, (v for g in self.groups() for v in g.variables)):
            teacher.assign(0.9 * teacher + 0.1 * tf.convert_to_tensor(student))
'''
OPTIONS = ["--source_dataset=rendered_digits(n=200)",
           "--dataset=digits", "--backbone=small_resnet(width=4)", "--weights=random", "--examples_per_class=8",
           "--validation_fraction=0.5", "--batch_size=20", "--epochs=full:30,head:1", "--precision=float32",
           "--feature_store=off", "--import=their_methods", "--method=full:aligned(weight=0.5)", "--dropout=0.2",
           "--checkpoint_every=3"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("plug_in")
    (made / "their_methods.py").write_text(PLUG_IN)
    return made


def train(folder, name, *more, phases="head,full,evaluate"):
    done = tools.run_py(f"--phase={phases}", f"--run_dir={name}", *OPTIONS, *more, cwd=folder, PYTHONPATH=str(folder))
    assert done.returncode == 0, done.stderr
    return folder / name


@pytest.fixture(scope="module")
def alone(folder):
    return train(folder, "alone")


def test_it_trains_and_its_measures_are_recorded(alone):
    records = [json.loads(line) for line in (alone / "records.jsonl").read_text().splitlines()]
    (plan,) = [r["plan"] for r in records if r["kind"] == "plan" and r["phase"] == "full"]
    assert plan["method"] == "aligned(weight=0.5)"
    epochs = [r for r in records if r["kind"] == "epoch" and r["phase"] == "full"]
    assert all(r["train_apart"] > 0 and 0 <= r["train_accuracy"] <= 1 for r in epochs)
    # The head is another phase, of the default method: it is solved on features.
    assert [r["plan"]["method"] for r in records if r["kind"] == "plan" and r["phase"] == "head"] == ["supervised"]


@pytest.mark.large
def test_killed_it_goes_on_to_the_bit(folder, alone):
    train(folder, "killed", phases="head")
    command = [sys.executable, str(tools.ROOT / "run.py"), "--phase=full", "--run_dir=killed", *OPTIONS]
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, stdout=subprocess.DEVNULL
    )
    crash.wait_for(folder / "killed", "checkpoints/full/step-*", process)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    train(folder, "killed", phases="full,evaluate")
    assert max(distributed.difference(alone, folder / "killed").values()) == 0


def test_it_is_not_accumulated(folder):
    done = tools.run_py(
        "--phase=full", "--run_dir=other", *OPTIONS, "--accumulate=2", cwd=folder, PYTHONPATH=str(folder)
    )
    tools.assert_refused(done, "--accumulate=2: this --method has a loss of the whole batch")


def test_logits_are_recorded(alone):
    with np.load(alone / "evaluate" / "predictions.npz") as arrays:
        assert np.isfinite(arrays["full"]).all()


def test_another_second_data_set_is_another_training(folder, alone):
    options = [*OPTIONS, "--run_dir=alone", "--source_dataset=rendered_digits(n=300)"]
    done = tools.run_py("--phase=full", *options, cwd=folder, PYTHONPATH=str(folder))
    tools.assert_refused(done, "was made with other options", "source_dataset was 'rendered_digits.n=200.'")
    without = [o for o in OPTIONS if not o.startswith("--source_dataset")]
    done = tools.run_py("--phase=head,full", *without, "--run_dir=none", cwd=folder, PYTHONPATH=str(folder))
    tools.assert_refused(done, "--method=aligned.* reads a second data set: name it with --source_dataset")
