"""The registered networks and the scaling of their inputs, by the names of before."""

from tf_transfer.modalities.backbones import (
    BACKBONES,
    Backbone,
    build,
    check_size,
    constructor_arguments,
    find_backbone,
    layer_pattern,
)
from tf_transfer.modalities.image.preprocessing import scale as preprocess

__all__ = [
    "BACKBONES",
    "Backbone",
    "build",
    "check_size",
    "constructor_arguments",
    "find_backbone",
    "layer_pattern",
    "preprocess",
]
