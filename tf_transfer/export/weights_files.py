"""Writes the weights alone, in files that load into the plain network of `keras.applications`."""

import json
import shutil
from pathlib import Path

from tf_transfer.export.trained import Trained
from tf_transfer.modalities import backbones
from tf_transfer.models import weights

# File that says how to build the network, see `runners.WeightsFile`.
NETWORK = "network.json"


def write(trained: Trained, path: Path) -> None:
    """Writes `backbone.weights.h5`, `head.weights.h5`, and `network.json`, which says what they load into.

    `network.json` has `constructor` and `arguments` of `keras.applications` (for other networks `network`, their
    layers), the mode of the preprocessing, and the number of classes.
    """
    for name in (weights.BACKBONE_FILE, weights.HEAD_FILE):
        shutil.copyfile(trained.folder / name, path.with_name(name))
    backbone, size = trained.backbone, trained.classifier.size
    told = {"mode": backbone.mode, "classes": len(trained.class_names)}
    if ":" in backbone.constructor:
        told["network"] = json.loads(trained.plain().to_json())
    else:
        arguments = {"include_top": False, "weights": None, "input_shape": [size, size, 3], "pooling": "avg"}
        told["constructor"] = backbone.constructor
        told["arguments"] = arguments | backbones.constructor_arguments(backbone)
    path.with_name(NETWORK).write_text(json.dumps(told, indent=1) + "\n", "utf-8")
