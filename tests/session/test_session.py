"""What a session derives from its configuration, its data and its network."""

import numpy as np
import pytest

from tf_transfer import config
from tf_transfer.console import Console
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.run.directory import RunDir
from tf_transfer.session.session import Session


def session(folder, **options):
    chosen = config.from_values({"dataset": "digits", "backbone": "small_resnet(width=4)", "image_size": 16, **options})
    return Session(chosen, frozenset(options), RunDir(folder), Console())


@pytest.fixture
def data():
    split = Split(np.zeros((400, 8, 8, 3), np.uint8), np.arange(400, dtype=np.int32) % 2, [""] * 400)
    return TrainingData(split, None, ("ant", "bee"), np.ones(2, np.float32))


def test_statistics_without_content_are_frozen_where_they_were_folded_and_trained_where_they_are_new(tmp_path, data):
    random = session(tmp_path, weights="random")
    classifier = random.pretrained(2)
    assert random.plan("full", random.facts_of(data, classifier)).bn == "train"
    # Saved as they are, the same numbers are a pretrained network whose statistics went into its kernels.
    classifier.backbone.save_weights(tmp_path / "folded.weights.h5")
    folded = session(tmp_path, weights=str(tmp_path / "folded.weights.h5"))
    assert folded.plan("full", folded.facts_of(data, folded.pretrained(2))).bn == "frozen"
    for layer in classifier.batchnorms:
        layer.moving_mean.assign(layer.moving_mean + 0.5)
    classifier.backbone.save_weights(tmp_path / "own.weights.h5")
    own = session(tmp_path, weights=str(tmp_path / "own.weights.h5"))
    assert own.plan("full", own.facts_of(data, own.pretrained(2))).bn == "train"
