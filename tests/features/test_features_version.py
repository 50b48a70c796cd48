"""Golden values of what a pass over given examples computes: whoever changes them raises `FEATURES_VERSION`.

Exact where whole numbers are computed (which pixel goes where, resizing onto the uint8 grid), and to 1e-4 of the
largest feature where a network is: a float32 sum of the 144 products behind one output of its widest layer is off by
144 * 6e-8 = 9e-6 at the most whatever the order, over seven layers by less than 1e-4. What is meant to be found is
larger: see `test_a_change_is_larger_than_the_tolerance`.
"""

import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tools

from tf_transfer import api, features
from tf_transfer.data.splits import Split
from tf_transfer.features.extract import Views, extract
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.modalities import base
from tf_transfer.modalities.image.small_resnet import SmallResNet
from tf_transfer.models.classifier import Classifier
from tf_transfer.session import head

RAISE = "what a pass computes has changed: raise FEATURES_VERSION in tf_transfer/features/__init__.py, then this value"
IMAGE = base.find("image")
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
SPLIT = Split(PICTURES, np.arange(3, dtype=np.int32), ["a", "b", "c"])
AUGMENT = "flip,crop(0.25)"
TOLERANCE = 1e-4

# Features 0 to 3 of each picture in each of four views.
FEATURES = [
    [[3.58693, 0.28434, 0.57351, 1.57568], [3.92267, 0.57883, 0.94531, 2.35562], [3.34004, 0.18460, 0.50141, 1.72718]],
    [[4.41561, 0.47421, 0.52632, 1.32809], [3.26688, 0.18861, 0.40130, 1.28320], [3.65970, 0.51747, 0.63524, 2.14144]],
    [[4.15711, 0.53992, 0.76907, 1.70780], [3.89169, 0.28278, 0.64308, 1.97299], [3.57012, 0.17237, 0.53040, 1.45565]],
    [[4.33481, 0.16508, 0.59689, 1.65489], [4.05177, 0.24915, 0.47636, 1.41830], [3.82011, 0.39311, 0.57475, 2.29894]],
]
# Digests of the third view of the pictures, and grey levels of one that interpolates.
VIEWS = {"flip": "06f9f5aace49fffd", "crop(0.25)": "67b4b497f371d9b0", "crop(0.0625)": "7572b8908c9d25fd"}
RESIZED_CROP = [[61.408, 98.082, 143.524], [168.091, 141.523, 82.704], [203.533, 157.053, 83.062]]
# The upper left corner of a picture of 5 by 7 pixels, made smaller and larger.
RESIZED = {
    3: [[[165, 194, 119], [158, 157, 141]], [[109, 144, 122], [110, 122, 146]]],
    8: [[[255, 228, 34], [146, 240, 160]], [[215, 229, 35], [170, 194, 154]]],
}


def digest(array):
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()[:16]


def network(mode="tf"):
    """Weights by NumPy, whose generators do not change with the version of Keras."""
    made = SmallResNet(input_shape=(16, 16, 3), pooling="avg", width=4)
    for number, variable in enumerate(made.variables):
        drawn = np.random.default_rng(number).uniform(-1, 1, variable.shape)
        kind = variable.path.rpartition("/")[2]
        fan_in = np.prod(variable.shape[:-1]) if len(variable.shape) == 4 else 1
        made_of = {"kernel": drawn * np.sqrt(6 / fan_in), "gamma": 1 + 0.2 * drawn, "moving_variance": 1 + 0.5 * drawn}
        variable.assign(made_of.get(kind, 0.2 * drawn))
    return Classifier(made, IMAGE.inputs(16, mode), 3)


def pass_over(split=SPLIT, mode="tf", augment=AUGMENT):
    views = Views(4, IMAGE.augmentation(augment), 3)
    made, _ = extract(network(mode), split, views, make_strategy("one"), 8)
    return made.inputs.reshape(4, len(split), -1)


def test_features_are_the_golden_ones():
    found = pass_over()
    np.testing.assert_allclose(found[:, :, :4], FEATURES, atol=TOLERANCE * np.abs(found).max(), err_msg=RAISE)


@pytest.mark.parametrize("change", ["one grey level", "another scale", "another draw", "another epsilon"])
def test_a_change_is_larger_than_the_tolerance(change):
    """What moves no feature by more than the tolerance would go unnoticed: a single grey level in all does not."""
    found = pass_over()
    if change == "one grey level":
        other = pass_over(Split(np.clip(PICTURES, 0, 254) + 1, SPLIT.labels, SPLIT.names))
    elif change == "another scale":
        other = pass_over(mode="v2")
    elif change == "another draw":
        other = pass_over(augment="flip,crop(0.0625)")
    else:
        classifier = network()
        for layer in classifier.batchnorms:
            layer.epsilon = 2e-3
        made, _ = extract(classifier, SPLIT, Views(), make_strategy("one"), 8)
        other = made.inputs.reshape(1, 3, -1)
    moved = np.abs(found[: len(other), :, :4] - other[:, :, :4]).max()
    assert moved > 3 * TOLERANCE * np.abs(found).max()


@pytest.mark.parametrize(("augment", "expected"), VIEWS.items())
def test_whole_numbers_of_a_random_view_are_the_golden_ones(augment, expected):
    seen = Views(4, IMAGE.augmentation(augment), 3).see(PICTURES, 2, 0, 3)
    assert digest(seen) == expected, RAISE


def test_a_random_view_that_interpolates_is_the_golden_one():
    seen = Views(4, IMAGE.augmentation("resized_crop"), 3).see(PICTURES, 2, 0, 3)
    # In grey levels.
    np.testing.assert_allclose(seen[:, 7, 7], RESIZED_CROP, atol=0.01, err_msg=RAISE)


def test_the_fixed_views_are_the_picture_and_its_mirror():
    views = Views(2, IMAGE.augmentation(AUGMENT), 3)
    np.testing.assert_array_equal(views.see(PICTURES, 0, 0, 3), PICTURES)
    np.testing.assert_array_equal(views.see(PICTURES, 1, 0, 3), PICTURES[:, :, ::-1])


@pytest.mark.parametrize(("size", "expected"), RESIZED.items())
def test_resizing_gives_the_golden_grey_levels(size, expected):
    picture = np.random.default_rng(1).integers(0, 256, (1, 5, 7, 3), np.uint8)
    found = np.asarray(IMAGE.inputs(size, "raw")(tf.constant(picture)))
    assert found[0, :2, :2].tolist() == expected, RAISE


@pytest.mark.parametrize(
    ("mode", "formula"),
    [
        ("raw", lambda x: x),
        ("tf", lambda x: x / 127.5 - 1),
        ("v2", lambda x: x / 128 - 1),
        ("caffe", lambda x: x[..., ::-1] - [103.939, 116.779, 123.68]),
        ("torch", lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ],
)
def test_scaling_is_what_the_weights_of_a_mode_expect(mode, formula):
    found = np.asarray(IMAGE.inputs(16, mode)(tf.constant(PICTURES)))
    np.testing.assert_allclose(found, formula(PICTURES.astype(float)), rtol=1e-6, atol=3e-5, err_msg=RAISE)


def facts_of(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("facts.json"))]


def test_a_store_of_another_version_is_made_anew_and_that_is_said(tmp_path, monkeypatch, capsys):
    options = tools.TINY | {"feature_store": tmp_path / "store", "phases": "head"}

    def again(name):
        api.fine_tune(**options, run_dir=tmp_path / name)
        return capsys.readouterr().out

    first = again("first")
    assert "made anew" not in first
    for facts in facts_of(tmp_path / "store"):
        assert facts["features_version"] == features.FEATURES_VERSION
        assert facts["versions"] == [tf.__version__, keras.__version__] and facts["modality"] == "image"
    kept = len(facts_of(tmp_path / "store"))
    second = again("second")
    assert "made anew" not in second and second.count(" were in ") == kept
    # As a store of before there was a version.
    for path in (tmp_path / "store").rglob("facts.json"):
        facts = json.loads(path.read_text())
        del facts["features_version"], facts["versions"], facts["modality"], facts["mode"]
        path.write_text(json.dumps(facts | {"code": "03aaddb14aa9c23428817286bd6e2a9c"}))
    monkeypatch.setattr(head, "FEATURES_VERSION", features.FEATURES_VERSION + 1)
    third = again("third")
    assert third.count("they are made anew") == 1 and " were in " not in third
    assert len(facts_of(tmp_path / "store")) == 2 * kept
    assert "made anew" not in again("fourth")
