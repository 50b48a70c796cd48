"""What is exported beside the SavedModel: each by itself, in a process of its own, is the model that was measured."""

import configparser
import dataclasses
import functools
import json
import re
import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tools

from tf_transfer import api
from tf_transfer.console import Console, Nowhere
from tf_transfer.errors import UserError
from tf_transfer.export import gate, keras_file, litert, runners, targets, trained
from tf_transfer.machine import devices
from tf_transfer.modalities import backbones, base
from tf_transfer.modalities.image import preprocessing
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.models import weights
from tf_transfer.models.classifier import Classifier
from tf_transfer.phases import catalogue, export_targets
from tf_transfer.run.directory import RunDir
from tf_transfer.session.session import Session

NAMES = ("naïve", "日本語", "\N{GRINNING FACE}", "two\nlines")
# One of each family and of each way to preprocess, of those that are built in seconds.
FAMILIES = ("mobilenet(alpha=0.25)", "mobilenet_v3_small", "vgg16", "efficientnetb0")
MODES = sorted({backbone.mode for backbone in backbones.BACKBONES.values()})


def smooth_pictures(count, size, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3))
    return tf.image.resize(coarse, (size, size), "bicubic").numpy().clip(0, 255).round().astype(np.uint8)


def made(folder, spec="small_resnet(width=4)", size=24):
    """A model of random weights, as a phase leaves it; its logits are of the order of 1."""
    devices.set_up(1)
    backbone = backbones.find_backbone(spec)
    classifier = Classifier(backbones.build(backbone, size), Preprocessing(size, backbone.mode), len(NAMES), seed=1)
    features = classifier.features(smooth_pictures(16, size)).numpy()
    kernel = np.random.default_rng(1).normal(size=(features.shape[1], len(NAMES))).astype(np.float32)
    # Some networks of random weights tell no two pictures apart: nothing is to be divided by how much they do.
    spread = (features @ kernel).std(0) if spec.startswith("small") else np.abs(features @ kernel).max()
    kernel *= 3 / spread
    classifier.head.set_weights([kernel, -(features @ kernel).mean(0)])
    classifier.save(folder)
    pictures = smooth_pictures(64, size, seed=1)
    return trained.load(backbone, size, folder, NAMES, temperature=1.5, examples=lambda: pictures)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made(tmp_path_factory.mktemp("phase"))


@pytest.fixture(scope="module")
def images():
    return smooth_pictures(40, 24)


@pytest.fixture(scope="module")
def logits(model, images):
    return model.classifier.logits(images).numpy()


def written(name, model, folder):
    folder = folder / name
    folder.mkdir()
    target = targets.TARGET.factory(name)
    for package in target.packages:
        pytest.importorskip(package)
    target.write(model, folder / target.file)
    return folder / target.file


@pytest.fixture(scope="module")
def artefact(model, tmp_path_factory):
    """Writes the model as a target once; not to be changed."""
    folder = tmp_path_factory.mktemp("artefacts")

    @functools.cache
    def path(name):
        return written(name, model, folder)

    return path


def softmax(logits):
    return tf.nn.softmax(logits).numpy()


@pytest.mark.parametrize("name", targets.TARGET.names())
def test_each_is_by_itself_the_model_that_was_measured(name, model, artefact, images, logits):
    found, parity = targets.check(name, model, artefact(name).parent, images, logits, latency=(1,))
    assert parity["n"] == len(images) and found.facts["latency"]["1"]["value"] > 0
    probabilities = found.arrays.get("probabilities", softmax(found.logits / 1.5))
    assert np.abs(probabilities - softmax(logits / 1.5)).max() < {"litert_int8": 0.2}.get(name, 0.01)
    assert probabilities.max(1).mean() > 0.4 and len(set(probabilities.argmax(1))) > 1
    with pytest.raises(UserError, match=f"{name} differs from .*it is not kept"):
        gate.compare(
            found, -logits, gate.TOLERANCE[targets.TARGET.factory(name).arithmetic], 1.5, name, "it is not kept"
        )


@pytest.mark.parametrize("name", ["litert_float16", "litert_int8", "keras"])
def test_broken_preprocessing_is_caught(name, model, images, logits, tmp_path, monkeypatch):
    monkeypatch.setattr(preprocessing, "scale", lambda images, mode: images / 255.0)
    written(name, model, tmp_path)
    with pytest.raises(UserError, match=rf"{name} differs .* it is not kept"):
        targets.check(name, model, tmp_path / name, images, logits)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(2, 24, 24), (2, 50, 31), (1, 7, 100), (3, 24, 5), (2, 11, 13), (1, 1, 1)])
def test_keras_resizes_and_scales_as_the_package_does(mode, shape):
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    inputs = keras.Input((None, None, 3), dtype="uint8")
    resized = preprocessing.resize(inputs, 24)
    both = keras.Model(inputs, [resized, preprocessing.scale(resized, mode)])
    # As a function, whose sizes are known when it runs: so is the exported SavedModel.
    expected = tf.function(lambda x: preprocessing.resize(x, 24), [tf.TensorSpec((None, None, None, 3), tf.uint8)])(
        images
    )
    got, scaled = both(images)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(scaled, preprocessing.scale(expected, mode))


@pytest.mark.parametrize("spec", FAMILIES)
def test_keras_files_of_every_family_load_in_safe_mode(spec, tmp_path):
    model = made(tmp_path, spec, max(32, backbones.find_backbone(spec).smallest))
    keras_file.write(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    assert not {type(layer).__module__.partition(".")[0] for layer in loaded._flatten_layers()} - {"keras"}
    images = smooth_pictures(3, 45)
    expected = model.classifier.logits(images).numpy()
    assert np.isfinite(expected).all() and np.ptp(expected) > 0.1
    # Called as it is, it is not in training mode.
    np.testing.assert_allclose(loaded(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_keras_file_trains_on_and_lends_its_network(model, artefact, tmp_path):
    path = artefact("keras")
    loaded = keras.models.load_model(path)
    loaded.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.classifier.backbone.get_weights()
    loaded.fit(smooth_pictures(8, 30), np.arange(8) % 4, epochs=1, verbose=0)
    loaded.save(tmp_path / "tuned.keras")
    lent = weights.load_backbone(model.backbone, "small_resnet(width=4)", str(tmp_path / "tuned.keras"), 32)
    changed = [not np.array_equal(a, b) for a, b in zip(lent.get_weights(), before, strict=True)]
    assert sum(changed) > len(changed) / 2
    lent = weights.load_backbone(model.backbone, "small_resnet(width=4)", str(path), 32)
    assert all(np.array_equal(a, b) for a, b in zip(lent.get_weights(), before, strict=True))


def test_weights_go_into_the_plain_constructor(tmp_path):
    spec = "mobilenet(alpha=0.25)"
    model = made(tmp_path, spec, 32)
    path = written("weights", model, tmp_path)
    told = json.loads(path.with_name("network.json").read_text())
    assert (told["constructor"], told["arguments"]["alpha"]) == ("MobileNet", 0.25)
    plain = keras.applications.MobileNet(
        include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3), pooling="avg"
    )
    plain.load_weights(path)
    images = smooth_pictures(4, 32)
    expected = model.classifier.features(images).numpy()
    np.testing.assert_allclose(plain(images / 127.5 - 1), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    said = runners.open_artefact(path)(images)
    np.testing.assert_allclose(said["features"], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_int8_takes_pixels_and_computes_in_integers_by_channel(artefact, images):
    path = artefact("litert_int8")
    interpreter = tf.lite.Interpreter
    with pytest.warns(UserWarning, match="deprecated"):
        interpreter = interpreter(
            str(path), experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF
        )
    (given,) = interpreter.get_input_details()
    assert (given["dtype"], given["quantization"]) == (np.uint8, (1.0, 0))
    assert given["shape_signature"].tolist() == [-1, 24, 24, 3]
    kernels = [t for t in interpreter.get_tensor_details() if t["dtype"] == np.int8 and len(t["shape"]) == 4]
    assert sum(len(t["quantization_parameters"]["scales"]) == t["shape"][0] > 1 for t in kernels) >= 9
    floats = [t["name"] for t in interpreter.get_tensor_details() if t["dtype"] == np.float32]
    assert len(floats) == 1, "the answer alone"
    runner = runners.open_artefact(path)
    assert runner.shape == (24, 24, 3)
    some = [runner(images[:n])["probabilities"] for n in (5, 1, 32)]
    assert [len(s) for s in some] == [5, 1, 32] and np.array_equal(some[0], some[2][:5])
    with pytest.raises((ValueError, RuntimeError), match="24"):
        runner(images[:, :20])


def test_the_bias_takes_back_what_rounding_moves(model, images, logits, tmp_path):
    path = written("litert_int8", model, tmp_path)
    pictures = model.examples()
    exact = np.log(np.maximum(softmax(model.classifier.logits(pictures).numpy() / 1.5), 1 / 512))

    def shift():
        rounded = np.maximum(runners.LiteRt(path)(pictures)["probabilities"], 1 / 512)
        return np.abs((np.log(rounded) - exact).mean(0)).max()

    corrected = shift()
    litert.write_int8(model, path, correct=False)
    assert corrected < shift()


def test_float16_halves_the_file(model, artefact):
    size = sum(w.size for w in model.plain().get_weights())
    assert artefact("litert_float16").stat().st_size < 3 * size + 20_000


def test_tensorflow_runs_a_tflite_file_where_litert_is_not_installed(artefact, images, logits, monkeypatch):
    path, made, interpreter = artefact("litert_float16"), [], tf.lite.Interpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setattr(tf.lite, "Interpreter", lambda *args, **more: made.append(1) or interpreter(*args, **more))
    runner = runners.open_artefact(path)
    assert made
    assert np.abs(runner(images)["probabilities"] - softmax(logits / 1.5)).max() < 0.01


def test_onnx_takes_any_batch_of_pixels(artefact, images, logits):
    path = artefact("onnx")
    runner = runners.open_artefact(path)
    for count in (1, 5, 40):
        said = runner(images[:count])
        assert np.abs(said["logits"] - logits[:count]).max() < 1e-4
        assert np.abs(said["probabilities"] - softmax(logits[:count] / 1.5)).max() < 1e-5


def test_names_are_checked_before_anything_is_made(monkeypatch):
    images = base.find("image")
    assert targets.parse(None, images) == targets.parse("none", images) == []
    assert targets.parse("keras, litert_int8,keras", images) == ["keras", "litert_int8"]
    with pytest.raises(UserError, match=r"--export_targets 'kears'. Did you mean 'keras'\? Known: keras, "):
        targets.parse("kears", images)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"--export_targets=onnx needs onnx, tf2onnx, .*pip install -e '\.\[onnx\]'"
    ) as e:
        targets.parse("keras,onnx", images)
    assert "\n" not in str(e.value)


def refusing(name):
    """A target whose head is the wrong way round."""
    target = targets.TARGET.factory(name)

    def write(model, path):
        head = model.classifier.head
        head.set_weights([-w for w in head.get_weights()])
        target.write(model, path)
        head.set_weights([-w for w in head.get_weights()])

    return dataclasses.replace(target, write=write)


def test_a_run_makes_them_and_keeps_those_that_pass(tmp_path_factory, tmp_path, monkeypatch, capsys):
    shutil.copytree(tools.tiny_run(tmp_path_factory), tmp_path / "run")
    options = tools.TINY | {"run_dir": tmp_path / "run", "export_targets": "litert_float16,litert_int8"}
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"--export_targets: litert_float16 refused"):
        found = {name: targets.TARGET.factory(name) for name in targets.TARGET.names()}
        found["litert_float16"] = refusing("litert_float16")
        patch.setattr(targets.TARGET, "factory", found.__getitem__)
        api.fine_tune(**options, phases=["export"])
    assert re.search(r"litert_float16 refused: litert_float16 differs .* it is not kept", capsys.readouterr().out)
    run = RunDir(tmp_path / "run")
    assert [p.name for p in (run.path / "artefacts").iterdir()] == ["litert_int8"]
    stamp = (run.path / "artefacts/litert_int8/model.tflite").stat().st_mtime_ns
    # Without the option again: what was asked for is recorded.
    api.fine_tune(**tools.TINY, run_dir=tmp_path / "run", phases=["export", "report"])
    assert (run.path / "artefacts/litert_int8/model.tflite").stat().st_mtime_ns == stamp
    table = capsys.readouterr().out
    assert re.search(r"saved_model +float32 .*\nlitert_float16 +float16 .*\nlitert_int8 +int8 ", table), table
    made = {r["target"]: r for r in run.records("artefact")}
    assert sorted(made) == ["litert_float16", "litert_int8"] and len(run.records("artefact")) == 2
    for name, record in made.items():
        folder = run.path / "artefacts" / name
        card, accuracy = json.loads((folder / "model_card.json").read_text()), record["accuracy"]
        assert card["artefact"]["accuracy"] == accuracy and accuracy["low"] < accuracy["value"] < accuracy["high"]
        assert accuracy["n"] == record["parity"]["n"] == 797 and accuracy["split"] == "test"
        assert runners.open_artefact(folder / "model.tflite").class_names == tuple("0123456789")
        assert record["bytes"] == (folder / "model.tflite").stat().st_size
    html = (run.path / "report.html").read_text()
    assert "Other artefacts" in html and "litert_int8" in html
    # As --restart does with them.
    config, directory = api.open_run({"run_dir": str(run.path)}, ["export"], write=False)
    session = Session(config, frozenset(), directory, Console(Nowhere()), restart=True)
    export_targets.export(session, tools.exported(run.path))
    assert len(run.records("artefact")) == 4


def test_what_a_phase_trains_anew_takes_its_artefacts_with_it():
    assert all("artefacts" in catalogue.outdated(phase) for phase in catalogue.TRAINED if phase != "scratch")


def test_every_target_is_told_by_its_option():
    told = api.configs.option_fields()["export_targets"][1].metadata["help"]
    assert all(name in told for name in targets.TARGET.names())


def test_packages_of_a_target_are_an_extra_of_its_name():
    setup = configparser.ConfigParser()
    setup.read(tools.ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    needing = {name: targets.TARGET.factory(name).packages for name in targets.TARGET.names()}
    assert {n: p for n, p in needing.items() if p and not set(p) <= set(re.findall(r"[\w-]+", extras.get(n, "")))} == {}
    assert any(needing.values())
