"""Writes a `.keras` file of Keras' own layers and operations, for further tuning: pictures of any size to logits."""

from pathlib import Path

import keras
from keras import layers

from tf_transfer.export.trained import Trained
from tf_transfer.machine.precision import precision_policy


def write(trained: Trained, path: Path) -> None:
    """Writes the model: uint8 `[N, H, W, 3]` of any size to float32 logits `[N, C]`.

    `keras.models.load_model` loads it in safe mode and without this package: it has no Lambda layer and no class of
    the package. The network is one layer, the plain `keras.applications` model, so that it can be frozen or taken out.
    """
    build(trained).save(path)


def build(trained: Trained) -> keras.Model:
    """Returns the model that `write` writes."""
    classifier = trained.classifier
    network = trained.plain()
    with precision_policy("float32"):
        images = keras.Input((None, None, 3), dtype="uint8", name="images")
        outputs = network(classifier.inputs(images))
        if classifier.dropout:
            outputs = layers.Dropout(classifier.dropout)(outputs)
        head = layers.Dense(classifier.num_classes, name="logits")
        model = keras.Model(images, head(outputs), name="classifier")
    head.set_weights(classifier.head.get_weights())
    return model
