"""One predictor on the small run, and a model of an older version, for all tests of serving."""

import pytest
import tensorflow as tf
import tools

from tf_transfer import serving


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return tools.tiny_run(tmp_path_factory)


@pytest.fixture(scope="session")
def predictor(run):
    with serving.Predictor(run) as made:
        yield made


@pytest.fixture(scope="session")
def bare(run):
    """What TensorFlow alone says of one picture."""
    loaded = tf.saved_model.load(str(run / "saved_model/1"))

    def ask(image, output="probabilities", signature="serving_default"):
        return loaded.signatures[signature](images=tf.constant(image[None]))[output].numpy()[0]

    return ask


@pytest.fixture(scope="session")
def samples(run):
    return sorted((run / "samples").glob("*.png"))


@pytest.fixture(scope="session")
def older(tmp_path_factory):
    """A model as an older version exported it: neither `decode` nor `features`, and a bad file fails its batch."""

    class Older(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
        def images(self, images):
            means = tf.reduce_mean(tf.cast(images, tf.float32), (1, 2)) / 50
            names = tf.constant(["red", "green", "blü"])
            return {
                "label": tf.gather(names, tf.argmax(means, 1)),
                "logits": means,
                "probabilities": tf.nn.softmax(means),
                "class_names": tf.tile(names[None], (tf.shape(means)[0], 1)),
            }

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
        def contents(self, contents):
            def decode(content):
                return tf.io.decode_image(content, 3, expand_animations=False)[:8, :8]

            return self.images(tf.map_fn(decode, contents, fn_output_signature=tf.uint8))

    made, place = Older(), tmp_path_factory.mktemp("older")
    tf.saved_model.save(
        made, str(place), {"serving_default": made.images, "serve_bytes": made.contents.get_concrete_function()}
    )
    return place
