import numpy as np
import pytest

from tf_transfer.machine import devices
from tf_transfer.modalities import backbones
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.models.classifier import Classifier

NAMES = ("naïve", "日本語", "\N{GRINNING FACE}", "<b>&amp;</b>")


@pytest.fixture(scope="session")
def names():
    return NAMES


@pytest.fixture(scope="session")
def classifier():
    """A small network whose four classes differ; not to be changed."""
    devices.set_up(1)
    network = backbones.build(backbones.find_backbone("small_resnet(width=4)"), 24)
    made = Classifier(network, Preprocessing(24, "tf"), len(NAMES), seed=1)
    made.head.set_weights([40 * made.head.get_weights()[0], made.head.get_weights()[1]])
    return made


@pytest.fixture(scope="session")
def pictures():
    def draw(*shape):
        return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)

    return draw
