"""`--phase=evaluate --saved_model=...`: any artefact, ours or not, by the same metrics."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tools
from PIL import Image

from tf_transfer import api
from tf_transfer.console import Console, Nowhere
from tf_transfer.data.sources import open_source
from tf_transfer.errors import UserError
from tf_transfer.evaluation import metrics
from tf_transfer.modalities import base
from tf_transfer.modalities.image import preprocessing
from tf_transfer.phases import evaluate_artefact
from tf_transfer.run.directory import RunDir
from tf_transfer.session.session import Session


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


def evaluate(artefact, cwd, **options):
    flags = tools.flags(phase="evaluate", dataset="digits", saved_model=artefact, **options)
    return tools.run_py(*flags, cwd=cwd)


def foreign(folder, outputs=10, size=8, names=None):
    """A model that is not ours: float pictures of one size in, probabilities out."""
    kernel = tf.constant(np.random.default_rng(0).normal(size=(size * size * 3, outputs)), tf.float32)
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32, "x")])
    def scores(x):
        return {"scores": tf.nn.softmax(tf.reshape(x, (-1, size * size * 3)) @ kernel / 1000)}

    tf.saved_model.save(module, str(folder), signatures=scores)
    if names:
        (folder / "assets/class_names.txt").write_text("\n".join(names))
    return folder


def test_our_own_export_scores_as_it_was_measured(run, tmp_path):
    done = evaluate(run, tmp_path)
    assert done.returncode == 0, done
    (measured,) = [r for r in RunDir(run).records("evaluation") if r["model"] == tools.exported(run)]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll", "brier", "ece"):
        assert f"{name} {measured['metrics'][name]['value']:.3f}" in done.stdout
    assert "on 797 test pictures" in done.stdout
    # Nothing of a run is written where there is none.
    assert not list(tmp_path.iterdir())


@pytest.mark.large
def test_it_is_recorded_beside_the_run_it_is_compared_with(tmp_path, tmp_path_factory):
    options = tools.TINY | {"run_dir": "run", "epochs": 1}
    made = tools.run_py("--phase=head,evaluate", *tools.flags(**options), cwd=tmp_path)
    assert made.returncode == 0, made
    other = foreign(tmp_path / "other")
    done = evaluate(other, tmp_path, run_dir="run")
    assert done.returncode == 0, done
    assert "the artefact does not name its classes" in done.stdout
    directory = RunDir(tmp_path / "run")
    (record,) = directory.records("artefact_evaluation")
    (against,) = record["comparisons"]
    ours = [r for r in directory.records("evaluation") if r["model"] == "head"][-1]["metrics"]["accuracy"]["value"]
    gap = (against["only_a"] - against["only_b"]) / 797
    assert record["metrics"]["accuracy"]["value"] == pytest.approx(ours + gap)
    # The run's own figures stay, and both readings of the test split are counted.
    assert len(directory.records("evaluation")) == 1
    assert [r["times"] for r in directory.records("test_read")] == [1, 2]


@pytest.mark.large
def test_what_does_not_fit_is_told(run, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"junk")
    shapes = tools.draw_shapes(tmp_path / "shapes", 4, size=16)
    for artefact, dataset, message in (
        (foreign(tmp_path / "few", 7), "digits", "answers 7 classes, but --dataset='digits' has 10"),
        (tmp_path / "nowhere", "digits", "there is no such folder"),
        (run, str(shapes), "knows other classes than .*what differs: 0, 1, 2, .*circle"),
    ):
        given = {"dataset": dataset, "run_dir": str(tmp_path / "run")}
        config, directory = api.open_run(given, ["evaluate"])
        session = Session(config, frozenset(given), directory, Console(Nowhere()))
        session.artefact = str(artefact)
        with pytest.raises(UserError, match=message) as refusal:
            evaluate_artefact.evaluate(session)
        assert "\n" not in str(refusal.value)
    # And as a command.
    tools.assert_refused(evaluate(tmp_path, tmp_path), "cannot be run in a process of its own")


@pytest.mark.large
def test_pictures_are_brought_to_the_size_of_the_artefact_alone(tmp_path):
    """By way of the 224 pixels of the default network they would not be those that the artefact gets of files."""
    random = np.random.default_rng(1)
    for i in range(60):
        (tmp_path / f"noise/{i % 3}").mkdir(parents=True, exist_ok=True)
        # Of several sizes: those of one are kept as they are.
        noise = random.integers(0, 256, (40 + i % 7, 70, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"noise/{i % 3}/{i}.png")
    flags = tools.flags(phase="evaluate", dataset=tmp_path / "noise", saved_model=foreign(tmp_path / "m", 3))
    done = tools.run_py(*flags, cwd=tmp_path)
    assert done.returncode == 0, done
    kernel = np.random.default_rng(0).normal(size=(192, 3)).astype(np.float32)

    def nll(split):
        images = split.inputs.astype(np.float32)
        images = preprocessing.resize(images, 8).numpy().reshape(len(images), -1)
        return metrics.nll(images @ kernel / 1000, split.labels)

    small, large = (
        nll(open_source(str(tmp_path / "noise"), base.find("image")).load("test", None, size)) for size in (8, 224)
    )
    assert f"nll {small:.3f}" in done.stdout and f"{small:.3f}" != f"{large:.3f}"


@pytest.mark.parametrize("model", tools.by_tier(["x", None, {"image_size": "x"}, {"image_size": -3}], ["x"]))
def test_a_foreign_card_of_another_kind_tells_no_size(tmp_path, model):
    module, kernel = tf.Module(), np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, "x")])
    def scores(x):
        return {"scores": tf.nn.softmax(tf.reduce_mean(x, (1, 2)) @ kernel / 100)}

    tf.saved_model.save(module, str(tmp_path / "other"), signatures=scores)
    (tmp_path / "other/assets").mkdir(exist_ok=True)
    (tmp_path / "other/assets/model_card.json").write_text(json.dumps({"model": model}))
    given = {"dataset": "digits", "backbone": "small_resnet", "run_dir": str(tmp_path / "run")}
    config, directory = api.open_run(given, ["evaluate"])
    session = Session(config, frozenset(given), directory, Console(Nowhere()))
    session.artefact = str(tmp_path / "other")
    found = evaluate_artefact.evaluate(session)["metrics"]
    test = open_source("digits", base.find("image")).load("test", None, session.input_size)
    means = test.inputs.astype(np.float32).mean((1, 2))
    assert found["nll"]["value"] == pytest.approx(metrics.nll(means @ kernel / 100, test.labels), rel=1e-4)
