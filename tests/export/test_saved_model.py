"""The exported model: needs TensorFlow alone, takes any size, and is the model that was measured."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tools
from scipy.special import softmax
from tensorflow.core.protobuf import saved_model_pb2

from tf_transfer import api
from tf_transfer.export import saved_model
from tf_transfer.modalities import base
from tf_transfer.session.session import Session

# Loads with TensorFlow alone.
PLAIN = (
    'HIDDEN = {"keras", "tf_keras", "tf_transfer"}'
    + tools.HIDE
    + """
import json
import numpy as np
import tensorflow as tf

images = np.load(sys.argv[2])["images"]
loaded = tf.saved_model.load(sys.argv[1])
out = loaded.signatures["serving_default"](images=tf.constant(images))
out = {name: value.numpy() for name, value in out.items()}
contents = [tf.io.encode_png(image).numpy() for image in images]
from_bytes = loaded.signatures["serve_bytes"](contents=tf.constant(contents))
assert not HIDDEN & set(sys.modules)
print(json.dumps({
    "logits": out["logits"].tolist(),
    "probabilities": out["probabilities"].tolist(),
    "from_bytes": from_bytes["probabilities"].numpy().tolist(),
    "label": [name.decode() for name in out["label"]],
    "class_names": [[name.decode() for name in row] for row in out["class_names"]],
}))
"""
)
TEMPERATURE = 1.7


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


@pytest.fixture(scope="module")
def exported(classifier, names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "1"
    written = saved_model.write(classifier, base.find("image"), names, folder, TEMPERATURE, {"card.json": b"{}"})
    assert written == ["serving_default", "serve_bytes", "features"]
    assert (folder / "assets/card.json").read_bytes() == b"{}"
    return tf.saved_model.load(str(folder))


def call(loaded, images):
    return {k: v.numpy() for k, v in loaded.signatures["serving_default"](images=tf.constant(images)).items()}


def test_it_loads_without_keras_and_equals_the_trained_model(run, pictures, tmp_path):
    config, directory = api.open_run({"run_dir": str(run)}, [], write=False)
    trained = Session(config, frozenset(), directory, console=None).trained(tools.exported(run))
    images = pictures(7, 19, 45, 3)  # Neither the batch nor the size it was trained with.
    np.savez(tmp_path / "images.npz", images=images)
    done = tools.python("-c", PLAIN, str(run / "saved_model/1"), "images.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    logits = trained.logits(images).numpy()
    assert np.abs(softmax(got["logits"], 1) - softmax(logits, 1)).max() <= 1e-5
    expected = softmax(logits / directory.done("saved_model")["calibration"]["temperature"], 1)
    assert np.abs(np.array(got["probabilities"]) - expected).max() <= 1e-5
    assert np.abs(np.array(got["from_bytes"]) - expected).max() <= 1e-5
    assert got["class_names"] == [list("0123456789")] * 7
    assert got["label"] == [str(i) for i in expected.argmax(1)]


@pytest.mark.parametrize("shape", [(1, 24, 24, 3), (5, 8, 8, 3), (2, 100, 31, 3), (3, 23, 25, 3), (1, 1, 1, 3)])
def test_any_batch_and_any_size(classifier, exported, names, pictures, shape):
    images = pictures(*shape)
    logits = classifier.logits(images).numpy()
    expected = softmax(logits / TEMPERATURE, 1)
    out = call(exported, images)
    assert np.allclose(out["logits"], logits, atol=1e-4)
    assert np.abs(out["probabilities"] - expected).max() <= 1e-5
    assert np.allclose(out["probability"], expected.max(1), atol=1e-5)
    assert [x.decode() for x in out["label"]] == [names[i] for i in expected.argmax(1)]
    assert [[x.decode() for x in row] for row in out["class_names"]] == [list(names)] * len(images)
    features = exported.signatures["features"](images=tf.constant(images))["features"].numpy()
    assert np.allclose(features, classifier.features(images).numpy(), atol=1e-4)


def test_grey_pictures_and_no_pictures(exported, pictures):
    grey = pictures(3, 20, 20, 1)
    expected = call(exported, np.repeat(grey, 3, axis=3))
    assert np.array_equal(call(exported, grey)["logits"], expected["logits"])
    assert call(exported, pictures(0, 20, 20, 3))["logits"].shape == (0, 4)
    for channels in (2, 4):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must have 1 or 3 channels, not"):
            call(exported, pictures(1, 20, 20, channels))


def test_class_names_are_an_asset_that_any_name_survives(exported, names):
    text = exported.assets[0].asset_path.numpy().decode()
    with open(text, encoding="ascii") as lines:
        assert tuple(line.rstrip("\n").encode("ascii").decode("unicode_escape") for line in lines) == names


def test_it_is_not_compiled_by_xla(classifier, names, tmp_path):
    classifier.xla = True
    try:
        saved_model.write(classifier, base.find("image"), names, tmp_path)
        assert classifier.xla
    finally:
        classifier.xla = False
    written = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    functions = written.meta_graphs[0].graph_def.library.function
    assert functions and not any(f.attr["_XlaMustCompile"].b for f in functions)
