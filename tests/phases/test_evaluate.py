"""The evaluate phase: the controls beside the models."""

import numpy as np
import tools

from tf_transfer.run.directory import RunDir


def test_the_blind_guess_is_measured_beside_the_models(tmp_path_factory):
    run = tools.tiny_run(tmp_path_factory)
    (found,) = RunDir(run).records("blind_guess")
    with np.load(run / "evaluate/predictions.npz") as kept:
        counts = np.bincount(kept["labels"])
    # Every class has three digits to train on: the control is the one that the test split has most often.
    assert (found["class"], found["split"]) == (str(counts.argmax()), "test")
    assert found["metrics"]["accuracy"]["value"] == counts.max() / 797
    assert found["metrics"]["balanced_accuracy"]["value"] == 0.1
