import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.errors import UserError
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.modalities.image import preprocessing
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.modalities.image.small_resnet import SmallResNet
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.dropout import Noise

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (4, 16, 16, 3), np.uint8)


def small(seed=0, **options):
    return Classifier(
        SmallResNet(input_shape=(16, 16, 3), pooling="avg", width=4), Preprocessing(16, "tf"), 3, seed=seed, **options
    )


def test_logits_are_head_of_backbone_of_preprocessed_pictures():
    classifier = small()
    features = classifier.backbone(IMAGES / np.float32(127.5) - 1, training=False)
    kernel, bias = classifier.head.get_weights()
    np.testing.assert_allclose(classifier.features(IMAGES), features, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(classifier.logits(IMAGES), features @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_pictures_of_another_size_are_resized_first():
    classifier = small()
    large = RANDOM.integers(0, 256, (2, 40, 24, 3), np.uint8)
    np.testing.assert_array_equal(classifier.features(large), classifier.features(preprocessing.resize(large, 16)))


def test_head_starts_from_its_seed_with_deviation_a_hundredth():
    kernels = [small(seed).head.get_weights()[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    wide = Classifier(SmallResNet(input_shape=(16, 16, 3), pooling="avg", width=64), Preprocessing(16, "tf"), 50)
    kernel, bias = wide.head.get_weights()
    assert kernel.shape == (256, 50) and not bias.any()
    np.testing.assert_allclose([kernel.mean(), kernel.std()], [0, 0.01], atol=4 * 0.01 / kernel.size**0.5)


def test_dropout_is_a_function_of_its_seed_and_of_training():
    classifier = small(dropout=0.5)
    features = tf.ones((64, classifier.num_features))
    noise, other = (Noise(tf.constant([3, step]), tf.range(64), 64) for step in (4, 5))
    first = classifier.classify(features, True, noise)
    np.testing.assert_array_equal(classifier.classify(features, True, noise), first)
    assert not np.array_equal(classifier.classify(features, True, other), first)
    np.testing.assert_array_equal(classifier.classify(features), small().classify(features, True, noise))
    # What is left is scaled up: the mean stays.
    kernel = classifier.head.get_weights()[0]
    error = (np.mean(first, axis=0) - kernel.sum(0)) / np.sqrt((kernel**2).sum(0) / 64)
    assert (np.abs(error) < 4).all()


def test_unfreeze_matches_stage_and_layer():
    classifier = small()
    assert classifier.unfrozen("") == {layer.name for layer in classifier.backbone.layers if layer.weights}
    assert classifier.unfrozen("^stage1/stem") == {"stem_conv", "stem_bn"}
    assert classifier.unfrozen("stage[23]/.*shortcut_conv") == {
        "stage2_block1_shortcut_conv",
        "stage3_block1_shortcut_conv",
    }


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("stage9", r"matches no layer. .* from stage1/stem_conv to stage3/stage3_block1_shortcut_bn"),
        ("stage(", r"--unfreeze='stage\(' is not a regular expression"),
        ("relu", "matches no layer"),  # such layers have no weights
    ],
)
def test_a_pattern_without_a_layer_is_told(pattern, message):
    with pytest.raises(UserError, match=message):
        small().unfrozen(pattern)


def test_learning_rate_factors_fall_from_the_head_downwards():
    classifier = small()
    factors = {g.name: g.factor for g in classifier.groups(layer_decay=0.5)}
    assert factors == {"stage1": 0.125, "stage2": 0.25, "stage3": 0.5, "head": 1.0}
    factors = {g.name: g.factor for g in classifier.groups("stage[12]", layer_decay=0.5)}
    assert factors == {"stage1": 0.125, "stage2": 0.25, "head": 1.0}
    assert {g.factor for g in classifier.groups()} == {1.0}


def test_layers_without_weights_make_no_stage():
    # VGG ends in a pooling that halves the resolution once more.
    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    factors = {g.name: g.factor for g in Classifier(network, Preprocessing(32, "caffe"), 2).groups(layer_decay=0.5)}
    assert factors == {f"stage{s}": 0.5 ** (6 - s) for s in range(1, 6)} | {"head": 1.0}


def test_stages_count_from_the_first_layer_that_learns():
    # EfficientNet normalises its pixels in a layer before the first convolution, at twice its resolution.
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Normalization()(inputs)
    x = keras.layers.Conv2D(2, 3, 2, "same", name="stem")(x)
    x = keras.layers.Conv2D(2, 3, 2, "same", name="next")(x)
    network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    classifier = Classifier(network, Preprocessing(16, "raw"), 2)
    assert (classifier.stages["stem"], classifier.stages["next"]) == (1, 2)


def test_batchnorm_policy_follows_the_named_layers():
    classifier = small()
    classifier.set_batchnorm("train", {"stem_bn"})
    assert [layer.name for layer in classifier.batchnorms if layer.use_batch_statistics] == ["stem_bn"]
    classifier.set_batchnorm("train")
    assert all(layer.use_batch_statistics for layer in classifier.batchnorms)
    classifier.set_batchnorm("frozen", {"stem_bn"})
    assert not any(layer.use_batch_statistics for layer in classifier.batchnorms)


def test_state_is_everything_and_comes_back():
    classifier, other = small(1), small(2)
    values = classifier.state_values()
    assert sum(v.size for v in values) == classifier.parameters()
    other.set_state(values)
    np.testing.assert_array_equal(other.logits(IMAGES), classifier.logits(IMAGES))
    classifier.head.kernel.assign(classifier.head.kernel + 1)
    np.testing.assert_array_equal(other.state_values()[-2], values[-2])


def test_saved_model_is_loaded_bit_for_bit(tmp_path):
    classifier, other = small(1), small(2)
    classifier.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["backbone.weights.h5", "head.weights.h5"]
    other.load(tmp_path)
    for a, b in zip(other.state_values(), classifier.state_values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_damaged_missing_and_foreign_files_are_told_in_one_line(tmp_path):
    classifier = small()
    with pytest.raises(UserError, match=r"backbone\.weights\.h5 do not fit this model or are damaged"):
        classifier.load(tmp_path)
    wider = Classifier(SmallResNet(input_shape=(16, 16, 3), pooling="avg", width=8), Preprocessing(16, "tf"), 3)
    wider.save(tmp_path)
    with pytest.raises(UserError, match="do not fit this model") as e:
        classifier.load(tmp_path)
    assert "\n" not in str(e.value)
    classifier.save(tmp_path)
    (tmp_path / "head.weights.h5").write_bytes((tmp_path / "head.weights.h5").read_bytes()[:500])
    with pytest.raises(UserError, match=r"head\.weights\.h5 do not fit"):
        classifier.load(tmp_path)


@pytest.mark.parametrize("policy", ["frozen", "train"])
def test_compiled_by_xla_it_computes_the_same(policy):
    """Features, gradients and moving statistics."""
    found = []
    for xla in (False, True):
        keras.utils.set_random_seed(0)
        classifier = small()
        classifier.xla = xla
        classifier.set_batchnorm(policy)
        variables = [v for group in classifier.groups() for v in group.variables]

        @tf.function(autograph=False)
        def step(images, classifier=classifier, variables=variables):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                for variable in variables:
                    tape.watch(variable)
                features = classifier.features(images, training=True)
                objective = tf.reduce_sum(classifier.classify(features)[:, 0])
            gradients = tape.gradient(objective, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return [features, *map(tf.convert_to_tensor, gradients)]

        traced = step.get_concrete_function(tf.TensorSpec(IMAGES.shape, tf.uint8)).graph.as_graph_def()
        assert xla == any(f.attr["_XlaMustCompile"].b for f in traced.library.function)
        outputs = [x.numpy() for x in step(tf.constant(IMAGES))]
        found.append([*outputs, *classifier.state_values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4 * max(1e-3, np.abs(one).max()))
    assert len(found[0]) > 50


@pytest.mark.parametrize("policy", ["frozen", "train"])
def test_xla_leaves_statistics_of_several_replicas_alone(policy):
    strategy = make_strategy("mirrored")
    found = []
    for xla in (False, True):
        with strategy.scope():
            keras.utils.set_random_seed(0)
            classifier = small()
        classifier.xla = xla
        classifier.set_batchnorm(policy)
        run = tf.function(
            lambda x, c=classifier: strategy.run(lambda x: c.features(x, training=True), args=(x,)), autograph=False
        )
        parts = strategy.experimental_local_results(run(tf.constant(IMAGES)))
        found.append([*(p.numpy() for p in parts), *classifier.state_values()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4 * max(1e-3, np.abs(one).max()))


def test_an_embedding_under_dense_layers_has_a_stage_for_each_layer_that_learns():
    inputs = keras.Input((5,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 4, name="words")(inputs))
    x = keras.layers.Dense(6, name="first")(x)
    network = keras.Model(inputs, keras.layers.Dense(3, name="second")(keras.layers.ReLU()(x)))

    def as_it_is(examples):
        return examples

    as_it_is.size, as_it_is.mode = 5, "raw"
    classifier = Classifier(network, as_it_is, 2)
    assert [classifier.stages[name] for name in ("words", "first", "second")] == [1, 2, 3]
    factors = {g.name: g.factor for g in classifier.groups(layer_decay=0.5)}
    assert factors == {"stage1": 0.125, "stage2": 0.25, "stage3": 0.5, "head": 1.0}
    assert classifier.unfrozen("second") == {"second"}
    ids = np.array([[1, 2, 3, 0, 8], [4, 4, 4, 4, 4]], np.int32)
    np.testing.assert_allclose(classifier.logits(ids), classifier.head(network(ids)), rtol=1e-6)
