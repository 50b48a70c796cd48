"""The contract that every registered backbone keeps, and golden values of the preprocessing."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tools

from tf_transfer.data.batches import DRAWS
from tf_transfer.errors import UserError
from tf_transfer.modalities import backbones
from tf_transfer.modalities.backbones import BACKBONES, find_backbone
from tf_transfer.modalities.image import preprocessing
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.models.classifier import Classifier
from tf_transfer.training import step

CLASSES = 3
STRATEGY = tf.distribute.OneDeviceStrategy("/cpu:0")


@pytest.fixture(autouse=True)
def _eager():
    """Two steps of a network take less time than tracing it once."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def make(name):
    backbone = find_backbone(name)
    with STRATEGY.scope():
        size = max(backbone.smallest, 32)
        return Classifier(backbones.build(backbone, size), Preprocessing(size, backbone.mode), CLASSES)


def pictures(count=4, height=40, width=48):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def train_step(classifier, phase, **options):
    """One step of the real loop, plain SGD; returns the names of the variables that changed by so much as a bit."""
    variables = [*classifier.backbone.variables, *classifier.head.variables]
    before = [v.value.numpy() for v in variables]
    method = tools.supervised(classifier, phase=phase, optimizer="sgd(momentum=0)", **options)
    batch = {
        "inputs": tf.constant(pictures()),
        "label": tf.constant([0, 1, 2, 0]),
        "weight": tf.ones(4),
        "uniform": tf.zeros((4, DRAWS)),
        "row": tf.range(4),
    }
    with STRATEGY.scope():
        stepper = step.Stepper(method, method.plan, {"train": 4}, STRATEGY)
    loss, _ = stepper({"train": batch}, 0.1, 0)
    assert np.isfinite(loss)
    return {v.path for v, old in zip(variables, before, strict=True) if not np.array_equal(v.value.numpy(), old)}


def paths(variables):
    return {v.path for v in variables}


# --- every registered name


def test_the_smallest_network_of_each_family_is_tested_without_all_too():
    families = {}
    ours = {name: spec for name, spec in BACKBONES.items() if spec.modality == "image"}
    for name, spec in ours.items():
        families.setdefault(spec.function().__module__, []).append(name)
    smallest = {min(names, key=lambda name: BACKBONES[name].parameters) for names in families.values()}
    assert smallest == set(tools.ONE_A_FAMILY)


@pytest.fixture(scope="module", params=tools.by_tier(BACKBONES, tools.ONE_A_FAMILY))
def classifier(request):
    yield make(request.param)
    keras.backend.clear_session()


def test_network_has_the_number_of_parameters_that_its_spec_says(classifier, request):
    spec = BACKBONES[request.node.callspec.params["classifier"]]
    assert classifier.backbone.count_params() == spec.parameters
    assert classifier.parameters() == spec.parameters + (classifier.num_features + 1) * CLASSES


def test_logits_of_pictures_of_another_size_are_finite(classifier):
    logits = classifier.logits(pictures(2))
    assert logits.shape == (2, CLASSES) and logits.dtype == tf.float32
    assert np.isfinite(logits).all()
    assert np.ptp(logits, axis=0).min() > 0, "two pictures, one answer"


def test_groups_hold_every_trainable_variable_once_from_the_input_up(classifier):
    groups = classifier.groups()
    grouped = [id(v) for g in groups for v in g.variables]
    expected = [id(v.value) for v in [*classifier.backbone.trainable_variables, *classifier.head.variables]]
    assert len(grouped) == len(set(grouped)) and set(grouped) == set(expected)
    stages = [int(g.name.removeprefix("stage")) for g in groups[:-1]]
    assert stages == sorted(set(stages)) and stages[0] == 1
    assert groups[-1].name == "head" and len(groups[-1].variables) == 2


# The others of a family have the same layers, and their groups, which alone train, were compared above.
@pytest.mark.parametrize("classifier", tools.ONE_A_FAMILY, indirect=True)
def test_a_step_of_the_head_leaves_the_backbone_bit_for_bit(classifier):
    # Random weights leave features of 1e-22 in some networks: a kernel of zeros moves all the same.
    classifier.head.kernel.assign(tf.zeros_like(classifier.head.kernel.value))
    changed = train_step(classifier, "head", bn="frozen")
    assert changed == paths(classifier.head.variables)


# --- full fine-tuning


TRAINABLE = ("mobilenet", "resnet50", "efficientnetb0", "densenet121", "small_resnet")


@pytest.fixture(scope="module", params=tools.by_tier(TRAINABLE, ("mobilenet", "small_resnet")))
def trainable(request):
    yield make(request.param)
    keras.backend.clear_session()


@pytest.fixture
def network(trainable):
    """One for several tests, left as it was found."""
    parts, momenta = (trainable.backbone, trainable.head), [layer.momentum for layer in trainable.batchnorms]
    weights = [part.get_weights() for part in parts]
    yield trainable
    for part, values in zip(parts, weights, strict=True):
        part.set_weights(values)
    for layer, momentum in zip(trainable.batchnorms, momenta, strict=True):
        layer.momentum = momentum


def statistics(classifier):
    return paths(v for layer in classifier.batchnorms for v in layer.non_trainable_variables)


def estimate_statistics(classifier):
    """Gives random weights statistics that suit them, as training would; without, the signal dies on its way."""
    classifier.set_batchnorm("train")
    for layer in classifier.batchnorms:
        layer.momentum = 0.0
    classifier.features(pictures(), training=True)


def test_frozen_statistics_stay_while_everything_else_trains(network):
    estimate_statistics(network)
    network.set_batchnorm("frozen")
    changed = train_step(network, "full")
    assert not changed & statistics(network)
    assert changed >= paths([*network.backbone.trainable_variables, *network.head.variables])


def test_convolutions_in_groups_train_too():
    """TensorFlow by itself knows no gradient of theirs on a CPU."""
    network = make("convnext_tiny")
    for variable in network.backbone.weights:
        if variable.path.endswith("gamma"):
            variable.assign(tf.ones_like(variable.value))  # Layer scale starts at 1e-6, and hides what is behind it.
    changed = train_step(network, "full")
    kernels = [v for layer in network.backbone.layers if getattr(layer, "groups", 1) > 1 for v in layer.weights]
    assert len(kernels) == 2 * 18 and changed >= paths(kernels)


def test_trained_statistics_move_in_every_layer(network):
    network.set_batchnorm("train")
    changed = train_step(network, "full")
    assert statistics(network) and changed >= statistics(network)


def test_partial_unfreezing_leaves_everything_below_bit_for_bit():
    network = make("mobilenet")
    network.set_batchnorm("train", network.unfrozen("stage[45]"))
    changed = train_step(network, "full", unfreeze="stage[45]")
    # At 32 px: blocks 6 and 12 halve the resolution for the fourth and fifth time.
    above = {f"_{block}" for block in range(6, 14)}
    moved = {layer.name for layer in network.backbone.layers if paths(layer.weights) & changed}
    assert moved == {
        layer.name
        for layer in network.backbone.layers
        if layer.weights and any(layer.name.removesuffix("_bn").endswith(block) for block in above)
    }
    assert len(moved) == 8 * 4  # a depthwise and a pointwise convolution with a normalisation each
    assert {p for p in statistics(network) if p.split("/")[0] in moved} <= changed


# --- preprocessing

# The module of keras.applications whose preprocess_input belongs to each family, by the start of the name.
FAMILIES = {
    "densenet": "densenet",
    "efficientnetb": "efficientnet",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "mobilenet": "mobilenet",
    "mobilenet_v2": "mobilenet_v2",
    "nasnet": "nasnet",
    "resnet": "resnet",
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "xception": "xception",
}
# Those that preprocess inside, where preprocess_input does nothing.
INSIDE = ("convnext", "efficientnetv2", "mobilenet_v3")
PIXELS = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("name", [n for n in BACKBONES if not n.startswith(("small_resnet", *INSIDE))])
def test_preprocessing_is_that_of_the_family(name):
    family = "resnet_v2" if name.endswith("v2") and name.startswith("resnet") else next(
        module for start, module in sorted(FAMILIES.items(), reverse=True) if name.startswith(start)
    )  # fmt: skip
    expected = getattr(keras.applications, family).preprocess_input(PIXELS.copy())
    np.testing.assert_allclose(preprocessing.scale(tf.constant(PIXELS), BACKBONES[name].mode), expected, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    tools.by_tier(
        ["convnext_tiny", "efficientnetv2b0", "efficientnetv2s", "mobilenet_v3_small", "mobilenet_v3_large"],
        always=["efficientnetv2s", *tools.ONE_A_FAMILY],
    ),
)
def test_preprocessing_is_that_of_the_layers_inside(name):
    backbone = BACKBONES[name]
    whole = backbone.function()(include_top=False, weights=None, input_shape=(32, 32, 3), include_preprocessing=True)
    inside = []
    for layer in whole.layers[1:]:
        if layer.trainable_weights:
            break
        inside.append(layer)
    x = tf.constant(PIXELS)
    for layer in inside:
        x = layer(x)
    assert np.abs(x - PIXELS).max() > 100, "found no preprocessing inside"
    np.testing.assert_allclose(preprocessing.scale(tf.constant(PIXELS), backbone.mode), x, atol=1e-4)


@pytest.mark.parametrize("start", ["convnext", "efficientnetv2b", "mobilenet_v3"])
def test_networks_of_one_preprocessing_family_share_their_mode(start):
    assert len({b.mode for name, b in BACKBONES.items() if name.startswith(start)}) == 1
    assert {BACKBONES[f"efficientnetv2{size}"].mode for size in "sml"} == {"v2"}


def test_preprocessing_formulas():
    white, black = tf.fill((1, 1, 1, 3), 255.0), tf.zeros((1, 1, 1, 3))
    for mode, low, high in (("tf", -1, 1), ("raw", 0, 255), ("v2", -1, 255 / 128 - 1)):
        np.testing.assert_allclose(preprocessing.scale(black, mode), np.full((1, 1, 1, 3), low), atol=1e-6)
        np.testing.assert_allclose(preprocessing.scale(white, mode), np.full((1, 1, 1, 3), high), atol=1e-6)
    red = tf.constant([[[[255.0, 0.0, 0.0]]]])
    np.testing.assert_allclose(preprocessing.scale(red, "caffe")[0, 0, 0], [-103.939, -116.779, 255 - 123.68], 1e-5)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(preprocessing.scale(red, "torch")[0, 0, 0], ([1, 0, 0] - mean) / deviation, rtol=1e-5)


# --- specs


def test_arguments_of_the_constructor_ride_in_the_spec():
    backbone = find_backbone("mobilenet(alpha=0.25)")
    assert backbone.arguments == {"alpha": 0.25}
    assert backbones.build(backbone, 32).output_shape == (None, 256)
    assert find_backbone("mobilenet").arguments == {}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mobilnet", r"Unknown --backbone 'mobilnet'. Did you mean 'mobilenet'\? Known: mobilenet, .*vgg19"),
        ("resnet", r"Did you mean 'resnet"),
        ("mobilenet(0.25)", r"name the arguments"),
        ("mobilenet(alpha=0.25", r"Expected name or name\(key=value"),
    ],
)
def test_a_bad_spec_is_told_in_one_line(spec, message):
    with pytest.raises(UserError, match=message) as e:
        find_backbone(spec)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("spec", "size", "message"),
    [
        ("mobilenet(beta=1)", 32, r"MobileNet does not take beta; it takes: alpha, depth_multiplier"),
        ("mobilenet(weights=imagenet)", 32, r"does not take weights"),
        ("small_resnet(include_top=True)", 32, r"does not take include_top; it takes: depth, width"),
        ("mobilenet(alpha=wide)", 32, r"MobileNet refused its arguments"),
        ("xception", 70, r"--input_size=70: this backbone takes 71 px or more \(native: 299\)"),
    ],
)
def test_arguments_that_no_network_takes_are_told_in_one_line(spec, size, message):
    with pytest.raises(UserError, match=message) as e:
        backbones.build(find_backbone(spec), size)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", [n for n, b in BACKBONES.items() if n.startswith(("inception", "xception"))])
def test_the_smallest_size_is_the_smallest(name):
    backbone = BACKBONES[name]
    with pytest.raises(ValueError, match=f"at least {backbone.smallest}x{backbone.smallest}"):
        backbone.function()(include_top=False, weights=None, input_shape=(backbone.smallest - 1,) * 2 + (3,))
