"""The exported model: needs TensorFlow alone, takes any size, and is the model that was measured."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
import tools
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from tf_transfer import api, export, phases, runtime, serving
from tf_transfer.data import pixels
from tf_transfer.models import backbones
from tf_transfer.models.classifier import Classifier
from tf_transfer.run_dir import RunDir
from tf_transfer.session import Session

NAMES = ("naïve", "日本語", "\N{GRINNING FACE}", "<b>&amp;</b>")

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
    "probabilities": out["probabilities"].tolist(),
    "from_bytes": from_bytes["probabilities"].numpy().tolist(),
    "label": [name.decode() for name in out["label"]],
    "class_names": [[name.decode() for name in row] for row in out["class_names"]],
}))
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


@pytest.fixture(scope="module")
def classifier():
    runtime.set_up(1)
    network = backbones.build(backbones.find_backbone("small_resnet(width=4)"), 24)
    made = Classifier(network, "tf", len(NAMES), seed=1)
    # A head of some size, so that the classes differ.
    made.head.set_weights([40 * made.head.get_weights()[0], made.head.get_weights()[1]])
    return made


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "1"
    assert export.write(classifier, NAMES, folder) == ["serving_default", "serve_bytes"]
    return serving.load(folder)


def pictures(*shape):
    return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_it_loads_without_keras_and_equals_the_trained_model(run, tmp_path):
    config, directory = api.open_run({"run_dir": str(run)}, [], write=False)
    trained = Session(config, frozenset(), directory, console=None).trained("full")
    images = pictures(7, 19, 45, 3)  # Neither the batch nor the size it was trained with.
    np.savez(tmp_path / "images.npz", images=images)
    done = tools.python("-c", PLAIN, str(run / "saved_model/1"), "images.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    expected = softmax(trained.logits(images).numpy())
    assert np.abs(np.array(got["probabilities"]) - expected).max() <= 1e-5
    assert np.abs(np.array(got["from_bytes"]) - expected).max() <= 1e-5
    assert got["class_names"] == [list("0123456789")] * 7
    assert got["label"] == [str(i) for i in expected.argmax(1)]


@pytest.mark.parametrize("shape", [(1, 24, 24, 3), (5, 8, 8, 3), (2, 100, 31, 3), (3, 23, 25, 3), (1, 1, 1, 3)])
def test_any_batch_and_any_size(classifier, exported, shape):
    images = pictures(*shape)
    expected = softmax(classifier.logits(images).numpy())
    out = exported.predict(images)
    assert np.abs(out["probabilities"] - expected).max() <= 1e-5
    assert np.allclose(out["probability"], expected.max(1), atol=1e-5)
    assert out["label"].tolist() == [NAMES[i] for i in expected.argmax(1)]
    assert out["class_names"].tolist() == list(NAMES)


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def test_file_bytes_equal_their_pixels(exported):
    """JPEG and PNG, grey, palette and transparent; each of another size."""
    colour = Image.fromarray(pictures(40, 30, 3))
    smooth = colour.resize((8, 6)).resize((64, 48), Image.Resampling.BICUBIC)
    transparent = smooth.copy()
    transparent.putalpha(Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))))
    files = {
        "jpeg": encoded(smooth, "JPEG", quality=92),
        "grey jpeg": encoded(smooth.convert("L"), "JPEG"),
        "png": encoded(colour, "PNG"),
        "grey png": encoded(colour.convert("L"), "PNG"),
        "palette png": encoded(smooth.quantize(16), "PNG"),
        "transparent png": encoded(transparent, "PNG"),
    }
    white = Image.new("RGBA", transparent.size, "white")
    by_pillow = {
        "png": colour,
        "grey png": colour.convert("L").convert("RGB"),
        "palette png": smooth.quantize(16).convert("RGB"),
        "transparent png": Image.alpha_composite(white, transparent).convert("RGB"),
    }
    from_bytes = exported._bytes(contents=tf.constant(list(files.values())))["probabilities"].numpy()
    for row, (name, content) in zip(from_bytes, files.items(), strict=True):
        decoded = pixels.decode(tf.constant(content)).numpy()
        if name in by_pillow:
            assert np.abs(decoded.astype(int) - np.asarray(by_pillow[name])).max() <= 1, name
        assert np.abs(row - exported.predict(decoded[None])["probabilities"][0]).max() <= 1e-5, name
    assert np.ptp(from_bytes, axis=0).max() > 0.01


def test_the_gate_measures_the_difference(classifier, exported, tmp_path):
    export.write(classifier, NAMES, tmp_path / "1")
    images = pictures(70, 24, 24, 3)
    logits = classifier.logits(images).numpy()
    found = export.parity(tmp_path / "1", images, logits, "float32")
    assert (found["n"], found["argmax_agreement"], found["tolerance"]) == (70, 1.0, 1e-5)
    assert found["max_probability_difference"] <= 1e-5
    other = logits.copy()
    other[41] = logits[41][::-1]
    difference = np.abs(softmax(other) - softmax(logits)).max()
    with pytest.raises(api.UserError, match=rf"by {difference:.2g}.*nothing was exported"):
        export.parity(tmp_path / "1", images, other, "float32")
    with pytest.raises(api.UserError, match="differs"):
        export.parity(tmp_path / "1", images, np.full_like(logits, np.nan), "float32")


def test_a_broken_export_leaves_nothing_behind(run, tmp_path, monkeypatch):
    options = tools.TINY | {"run_dir": tmp_path / "run", "quiet": True}
    api.fine_tune(**options, phases=["head"])
    write = export.write

    def broken(classifier, class_names, folder):
        classifier.head.bias.assign_add([9.0] + [0.0] * 9)
        return write(classifier, class_names, folder)

    monkeypatch.setattr(phases.exporter, "write", broken)
    with pytest.raises(api.UserError, match="nothing was exported"):
        api.fine_tune(**options, phases=["export"])
    assert not (tmp_path / "run/saved_model").exists()
    assert not list((tmp_path / "run").rglob(".new*"))
    monkeypatch.undo()
    result = api.fine_tune(**options, phases=["export"])
    kept = (result.saved_model / "saved_model.pb").read_bytes()
    # The same again is not made again, and recorded once; one that fails leaves the earlier one alone.
    monkeypatch.setattr(phases.exporter, "write", broken)
    api.fine_tune(**options, phases=["export"])
    assert len(RunDir(tmp_path / "run").records("export")) == 1
    with pytest.raises(api.UserError, match="nothing was exported"):
        api.fine_tune(**options, phases=["export"], restart=True)
    assert (result.saved_model / "saved_model.pb").read_bytes() == kept


def test_it_is_not_compiled_by_xla(classifier, tmp_path):
    classifier.xla = True
    try:
        export.write(classifier, NAMES, tmp_path)
        assert classifier.xla
    finally:
        classifier.xla = False
    written = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    functions = written.meta_graphs[0].graph_def.library.function
    assert functions and not any(f.attr["_XlaMustCompile"].b for f in functions)
