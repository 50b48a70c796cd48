import os
import socket

import keras
import numpy as np
import pytest

from tf_transfer.errors import UserError
from tf_transfer.modalities.backbones import find_backbone
from tf_transfer.models import weights

SPEC = "small_resnet(width=4)"


def load(where, spec=SPEC, size=16):
    return weights.load_backbone(find_backbone(spec), spec, str(where), size)


def values(model):
    return [w.numpy() for w in model.weights]


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(values(a), values(b), strict=True))


def test_random_weights_follow_the_global_seed():
    models = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append(load("random"))
    assert equal(models[0], models[1]) and not equal(models[0], models[2])


@pytest.mark.parametrize("name", ["own.weights.h5", "run/full/backbone.weights.h5", "run/backbone.weights.h5"])
def test_weights_come_from_a_file_a_run_or_a_folder(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    model = load("random")
    model.save_weights(path)
    assert equal(load(tmp_path / "run" if name.startswith("run") else path), model)
    assert not equal(load("random"), model)


def test_a_run_lends_its_source_first_then_its_last_phase(tmp_path):
    for phase in ("head", "full", "source"):
        (tmp_path / phase).mkdir()
        (tmp_path / phase / weights.BACKBONE_FILE).touch()
        assert weights.weights_file(str(tmp_path)) == tmp_path / phase / weights.BACKBONE_FILE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", r"--weights='nowhere': expected imagenet, random, an existing .weights.h5"),
        ("nowhere.h5", "expected imagenet, random, an existing"),
        ("imagnet", "expected imagenet, random"),
        ("notes.txt", "expected imagenet, random"),
        ("empty", r"--weights='empty' is a directory without a trained model"),
        ("bad\nname", r"--weights='bad name'"),
    ],
)
def test_weights_that_are_not_there_are_told_in_one_line(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=message) as e:
        load(name)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("spec", ["small_resnet(width=8)", "small_resnet(width=4, depth=2)", "mobilenet(alpha=0.25)"])
def test_weights_of_another_network_are_refused(tmp_path, spec):
    load("random", spec, 32).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(UserError, match=r"other.weights.h5 do not fit --backbone=small_resnet\(width=4\)") as e:
        load(tmp_path / "other.weights.h5")
    assert "\n" not in str(e.value)


def classifier(network, name=None):
    """A file of somebody's own: preprocessing, the network as one layer, a head."""
    inputs = keras.Input(network.input_shape[1:])
    scaled = keras.layers.Lambda(lambda x: x)(inputs) if name == "lambda" else keras.layers.Rescaling(1 / 255)(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(network(scaled)))


def test_a_keras_file_lends_the_network_inside(tmp_path):
    model = load("random")
    model.save(tmp_path / "network.keras")
    classifier(model).save(tmp_path / "classifier.keras")
    for name in ("network.keras", "classifier.keras"):
        assert equal(load(tmp_path / name), model)
    # The size of the pictures plays no part.
    assert equal(load(tmp_path / "classifier.keras", size=32), model)


@pytest.mark.parametrize(
    ("spec", "name", "message"),
    [
        ("small_resnet(width=8)", "wider", "it holds no network of these layers and shapes"),
        (SPEC, "lambda", "[Ll]ambda"),
    ],
)
def test_keras_files_that_hold_something_else_are_refused(tmp_path, spec, name, message):
    classifier(load("random", spec), name).save(tmp_path / f"{name}.keras")
    with pytest.raises(UserError, match=rf"{name}.keras do not fit --backbone=.*{message}") as e:
        load(tmp_path / f"{name}.keras")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["junk.weights.h5", "junk.h5", "junk.keras"])
def test_damaged_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\nthen nothing of the kind")
    with pytest.raises(UserError, match=r"do not fit .* or are damaged"):
        load(tmp_path / name)


def test_files_with_a_top_are_refused(shared_data):
    with pytest.raises(UserError, match="without its top"):
        load(shared_data / "keras/models/mobilenet_2_5_224_tf.h5", "mobilenet(alpha=0.25)", 32)


def test_imagenet_weights_that_do_not_exist_are_told():
    with pytest.raises(UserError, match=r"--weights=imagenet: none are published for small_resnet"):
        load("imagenet")


def test_a_failed_download_says_what_to_do(monkeypatch):
    def no_network(*args, **kwargs):
        raise Exception("URL fetch failure on https://host/x.h5: None -- [Errno -3] Temporary failure\nin name")

    monkeypatch.setattr(weights.backbones, "build", no_network)
    monkeypatch.setenv("KERAS_HOME", "/else/where")
    with pytest.raises(UserError, match=r"not in /else/where/models and could not be downloaded .*set KERAS_HOME") as e:
        load("imagenet", "resnet50", 32)
    assert "\n" not in str(e.value)


def test_the_network_is_waited_for_in_seconds_and_only_during_the_download(monkeypatch):
    seen = []
    monkeypatch.setattr(weights.backbones, "build", lambda *a: seen.append(socket.getdefaulttimeout()))
    before = socket.getdefaulttimeout()
    load("imagenet", "resnet50", 32)
    assert 0 < seen[0] <= 10 and socket.getdefaulttimeout() == before


def test_resnet50_asks_keras_for_its_published_file(monkeypatch):
    """Name and checksum as keras.applications publishes them; the file itself is not needed."""
    asked = {}

    def get_file(name, origin, file_hash=None, **_):
        asked.update(name=name, file_hash=file_hash)
        raise Exception(f"URL fetch failure on {origin}")

    monkeypatch.setattr("keras.src.applications.resnet.file_utils.get_file", get_file)
    with pytest.raises(UserError, match="resnet50 are not in"):
        load("imagenet", "resnet50", 32)
    assert asked == {
        "name": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "file_hash": "4d473c1dd8becc155b73f8504c6f6626",
    }


def test_real_imagenet_weights_load_at_another_size(shared_data):
    assert os.environ["KERAS_HOME"] == str(shared_data / "keras")
    spec = "mobilenet(alpha=0.25)"
    model = load("imagenet", spec, 96)
    native = keras.applications.MobileNet(alpha=0.25, include_top=False, input_shape=(224, 224, 3), pooling="avg")
    assert model.input_shape == (None, 96, 96, 3) and equal(model, native)


def test_efficientnet_is_the_same_network_from_imagenet_and_from_a_file(tmp_path, monkeypatch):
    """Keras adds a layer for `imagenet` alone; what a phase left is read back into a network without it."""
    published = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    inside = next(layer for layer in published.layers if isinstance(layer, keras.layers.Normalization))
    inside.adapt_mean.assign([0.485, 0.456, 0.406])
    inside.adapt_variance.assign([0.229, 0.224, 0.225])
    published.save_weights(tmp_path / "published.weights.h5")
    monkeypatch.setattr(
        "keras.src.applications.efficientnet.file_utils.get_file", lambda *_, **__: tmp_path / "published.weights.h5"
    )
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    expected = find_backbone("efficientnetb0").function()(
        include_top=False, weights="imagenet", input_shape=(32, 32, 3), pooling="avg"
    )(pixels)
    model = load("imagenet", "efficientnetb0", 32)
    np.testing.assert_allclose(model(pixels), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    model.save_weights(tmp_path / "own.weights.h5")
    np.testing.assert_array_equal(load(tmp_path / "own.weights.h5", "efficientnetb0", 32)(pixels), model(pixels))


def test_digest_tells_weights_apart():
    model = load("random")
    first = weights.digest(model)
    assert len(first) == 16 and weights.digest(model) == first
    kernel = model.weights[0]
    kernel.assign(kernel + 1e-6)
    assert weights.digest(model) != first


def test_a_published_h5_file_is_what_imagenet_means(shared_data):
    """The file of keras.applications, in the format of Keras 2, given by its path."""
    spec, path = "mobilenet(alpha=0.25)", shared_data / "keras/models/mobilenet_2_5_224_tf_no_top.h5"
    by_name, by_path = load("imagenet", spec, 96), load(path, spec, 96)
    assert weights.digest(by_path) == weights.digest(by_name) != weights.digest(load("random", spec, 96))
