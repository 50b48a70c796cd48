"""The exported SavedModel, in a process without Keras, against the trained network: every family, precision, replicas.

python -m benchmarks.parity
"""

import argparse
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.special import softmax

from benchmarks import runner
from tf_transfer.export import gate, saved_model
from tf_transfer.machine import devices
from tf_transfer.machine.precision import precision_policy
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.modalities import backbones, base
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.inference import Predictor

# The smallest of each family.
FAMILIES = (
    "convnext_tiny", "densenet121", "efficientnetb0", "efficientnetv2b0", "inception_resnet_v2", "inception_v3",
    "mobilenet(alpha=0.25)", "mobilenet_v2(alpha=0.35)", "mobilenet_v3_small", "nasnet_mobile", "resnet50",
    "resnet50v2", "small_resnet", "vgg16", "xception",
)  # fmt: skip
_CLASSES, _PICTURES, _TEMPERATURE = 5, 8, 1.3
_FOUND = ("features", "probability")


def family(constructor: str) -> str:
    """Returns what the networks of a family have in common in the names of their constructors."""
    name = constructor.rpartition(":")[2]
    known = r"(ConvNeXt|DenseNet|EfficientNetV2|EfficientNet|InceptionResNetV2|InceptionV3|MobileNetV3|MobileNetV2|MobileNet|NASNet|ResNet\d+V2|ResNet\d+|SmallResNet|VGG|Xception)"  # noqa: E501
    return (
        re.sub(r"\d+(?=V2|$)", "", re.match(known, name)[1]) if name.startswith("ResNet") else re.match(known, name)[1]
    )


def compare(name: str, precision: str, folder: Path, strategy: str = "one") -> dict:
    """Writes a network of random weights under a head that tells its classes apart, and runs it by itself.

    Args:
        name: spec of the backbone.
        precision: `float32` or `bfloat16`.
        folder: where to write.
        strategy: as `--strategy`, under which the network is made and the expected answers are computed.

    Returns:
        `features`, the largest difference as a share of the largest feature; `probability`, the largest difference;
        `pixels`, the side.
    """
    backbone = backbones.find_backbone(name)
    scope = make_strategy(strategy)
    with scope.scope(), precision_policy(precision):
        devices.set_up(1)
        network = backbones.build(backbone, backbone.smallest)
        classifier = Classifier(network, Preprocessing(backbone.smallest, backbone.mode), _CLASSES, seed=1)
    images = np.random.default_rng(0).integers(0, 256, (_PICTURES, 50, 70, 3), dtype=np.uint8)
    features = Predictor(classifier.features, scope, 4)(images)
    # Random networks give nearly the same features for all pictures: what sets them apart is made to count.
    centred = (features - features.mean(0)) / max(np.abs(features - features.mean(0)).max(), 1e-9)
    kernel = (
        np.random.default_rng(1).normal(size=(features.shape[1], _CLASSES)) * (np.abs(centred).max(0) > 0.01)[:, None]
    )
    scale = 1.0 / max(np.abs(features @ kernel).max(), 1e-9)
    classifier.head.set_weights([(4 * scale * kernel).astype(np.float32), np.zeros(_CLASSES, np.float32)])
    logits = Predictor(classifier.logits, scope, 4)(images)
    saved_model.write(
        classifier, base.find("image"), [f"class {i}" for i in range(_CLASSES)], folder / "1", _TEMPERATURE
    )
    found = gate.answers(folder / "1", images, sample=base.find("image").probe)
    by_bytes = found.facts["bytes"]
    difference = np.abs(found.arrays["probabilities"] - softmax(logits / _TEMPERATURE, axis=1)).max()
    embedded = tf.saved_model.load(str(folder / "1")).signatures["features"](images=tf.constant(images))["features"]
    return {
        "features": float(np.abs(embedded.numpy() - features).max() / np.abs(features).max()),
        "probability": float(max(difference, by_bytes["max_probability_difference"])),
        "pixels": backbone.smallest,
    }


def measure(options: argparse.Namespace) -> dict:
    """Compares every family in float32, and one in bfloat16 and under two replicas."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    cases = [(name, "float32", "one") for name in (FAMILIES[6:8] if options.quick else FAMILIES)]
    cases += [("mobilenet(alpha=0.25)", "bfloat16", "one"), ("resnet50", "bfloat16", "one")]
    cases += [("mobilenet(alpha=0.25)", "float32", "mirrored")]
    rows = []
    for name, precision, strategy in cases:
        with tempfile.TemporaryDirectory() as scratch:
            found = compare(name, precision, Path(scratch), strategy)
        rows.append({"name": name, "precision": precision, "strategy": strategy} | found)
    return {"rows": rows}


def render(record: Mapping) -> list[str]:
    """Returns the section of the page."""
    lines = ["## The export against the network it was made from", ""]
    lines += [
        "Random weights, smallest size; run in a process in which neither Keras nor this package can be imported. "
        "Largest difference of a pooled feature, as a share of the largest, and of a probability.",
        "",
    ]
    made_on = {"one": "one device", "mirrored": "two replicas"}
    rows = [
        (r["name"], f"{r['pixels']} px", r["precision"], made_on[r["strategy"]], *(f"{r[k]:.1e}" for k in _FOUND))
        for r in record["rows"]
    ]  # fmt: skip
    lines += runner.table(("network", "pictures", "precision", "made on", "features", "probability"), rows)
    for precision in ("float32", "bfloat16"):
        worst, bound = (
            max(r["probability"] for r in record["rows"] if r["precision"] == precision),
            gate.TOLERANCE[precision].probability,
        )
        told = runner.verdict(worst <= bound)
        lines.append(f"- {precision}: {worst:.1e} at most; allowed, {bound:g}: {told}.")
    return lines


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
