"""Parity by family, precision and strategy; `benchmarks/parity.py` does the same for all families."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import parity
from tf_transfer.export import gate

# Modes `raw` and `caffe`; MobileNet, below, has `tf`.
FEW = ("mobilenet_v3_small", "vgg16")


@pytest.mark.parametrize("name", FEW)
def test_families(name, tmp_path):
    found = parity.compare(name, "float32", tmp_path)
    assert found["features"] <= 1e-4 and found["probability"] <= gate.TOLERANCE["float32"].probability, found


@pytest.mark.large
def test_bfloat16(tmp_path):
    found = parity.compare("mobilenet(alpha=0.25)", "bfloat16", tmp_path)
    assert found["probability"] <= gate.TOLERANCE["bfloat16"].probability, found


@pytest.mark.large
def test_mirrored(tmp_path):
    assert len(tf.config.list_logical_devices("CPU")) == 2
    found = parity.compare("mobilenet(alpha=0.25)", "float32", tmp_path, "mirrored")
    assert found["features"] <= 1e-4 and found["probability"] <= gate.TOLERANCE["float32"].probability, found


def test_every_family_is_named():
    from tf_transfer.modalities.backbones import BACKBONES, find_backbone

    families = {parity.family(find_backbone(name).constructor) for name in parity.FAMILIES}
    assert {parity.family(b.constructor) for b in BACKBONES.values()} == families
    assert np.all([find_backbone(name).smallest <= 75 for name in parity.FAMILIES])
