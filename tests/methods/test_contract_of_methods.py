"""What a phase gives a method: labels or none, a scope for variables of its own, and a record for any score."""

import dataclasses
import json

import numpy as np
import pytest
import tools

from tf_transfer.config import from_values
from tf_transfer.console import Console, Nowhere
from tf_transfer.phases.catalogue import PHASES
from tf_transfer.run.directory import RunDir
from tf_transfer.session import prepare
from tf_transfer.session.session import Session

PLUG_IN = '''
import numpy as np
import tensorflow as tf
from tf_transfer.methods.supervised import Supervised
from tf_transfer.training.method import METHODS, Losses, ParameterGroup, Score


@METHODS.register("own_head")
class OwnHead(Supervised):
    """Trains a head of its own beside the model, and is scored by what is no accuracy."""

    def __init__(self, setting):
        super().__init__(setting)
        self.own = tf.Variable(tf.zeros((self.model.num_features, 2)))

    def groups(self):
        return [*super().groups(), ParameterGroup("own", [self.own])]

    def state(self):
        return [*super().state(), self.own]

    def loss(self, batch, noise, progress):
        features = self.model.features(batch["train"]["inputs"], True, noise["train"])
        return Losses(tf.reduce_mean(tf.square(features @ self.own - 1.0), 1))

    def score(self):
        return Score(float(-np.square(self.own.numpy() - 0.1).sum()), 0.01, 2.5, {"examples": 3})
'''


def session(folder, **options):
    values = {"dataset": "digits", "backbone": "small_resnet(width=4)", "weights": "random", "examples_per_class": 4}
    chosen = from_values(values | {"precision": "float32"} | options)
    return Session(chosen, frozenset(options), RunDir(folder), Console(Nowhere()))


def setting_of(made, phase):
    data = made.datasets.training()
    classifier = made.pretrained(len(data.class_names))
    plan = made.plan(phase, made.facts_of(data, classifier))
    return prepare.method(made, phase, classifier, data, plan).setting


def test_a_phase_without_labels_gives_none(tmp_path, monkeypatch):
    monkeypatch.setitem(PHASES, "full", dataclasses.replace(PHASES["full"], labelled=False))
    given = setting_of(session(tmp_path / "run"), "full").data
    assert given.train.labels is None and len(given.train) > 0
    assert given.validation is None or given.validation.labels is None
    monkeypatch.undo()
    assert setting_of(session(tmp_path / "run"), "full").data.train.labels is not None


@pytest.mark.parametrize("strategy", ["one", "mirrored"])
def test_a_head_of_its_own_and_a_score_that_is_no_accuracy(tmp_path, strategy):
    (tmp_path / "their_head.py").write_text(PLUG_IN)
    options = {**tools.TINY, "method": "own_head", "import": "their_head", "batch_size": 8, "run_dir": "run"}
    program = "import tensorflow as tf\ncpu = tf.config.list_physical_devices('CPU')[0]\n"
    program += "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
    program += "from tf_transfer import cli\ncli.run()\n"
    flags = tools.flags(**options, strategy=strategy)
    done = tools.python("-c", program, "--phase=scratch", *flags, cwd=tmp_path, PYTHONPATH=f"{tools.ROOT}:{tmp_path}")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "run/records.jsonl").read_text().splitlines()]
    epochs = [r for r in records if r["kind"] == "epoch"]
    assert [r["validation_loss"] for r in epochs] == [2.5] * len(epochs)
    assert all(np.isfinite(r["validation_value"]) and "train_accuracy" not in r for r in epochs)
    # The loss and the value are printed, although there is no accuracy.
    assert f"validation {epochs[-1]['validation_value']:.4f} (loss 2.5000)" in done.stdout
    assert "scratch  done in" in done.stdout and ", validation -" in done.stdout
