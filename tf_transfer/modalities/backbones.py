"""The registry of networks: one line each; their names are known without importing Keras.

Another package registers its own when `--import=its_module` imports it:

    from tf_transfer.modalities.backbones import Backbone, register
    register("my_network", Backbone("my_module:MyNetwork", "tf", 224, 1_234_567, imagenet=False))
"""

import importlib
import inspect
import os
import re
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tf_transfer.errors import UserError, one_line
from tf_transfer.machine.quiet import quiet
from tf_transfer.modalities import base
from tf_transfer.registry import parse_spec, split_list, unknown_name

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Backbone:
    """The facts of a network that are needed before it is built.

    Attributes:
        constructor: function of `keras.applications`, or `module:function`.
        mode: how its weights expect inputs, a word of its modality; for pictures see `preprocessing.scale`.
        size: native input size.
        parameters: of the network without its top, at the default arguments.
        smallest: smallest input size it takes.
        imagenet: whether weights of `--weights=imagenet` are published.
        bn: default BatchNorm policy of the full phase, `train` or `frozen`; `train` unless measurements say otherwise
            (`python -m benchmarks.results --only=bn_policy`).
        depthwise: whether most of its time is in depthwise convolutions, for which bfloat16 is little or no faster on
            a CPU without AMX (`python -m benchmarks.precision`).
        modality: name of the modality of its inputs, see `base.MODALITIES`.
        arguments: constructor arguments that the spec set, such as `alpha`.
    """

    constructor: str
    mode: str
    size: int
    parameters: int
    smallest: int = 32
    imagenet: bool = True
    bn: str = "train"
    depthwise: bool = False
    modality: str = "image"
    arguments: dict = field(default_factory=dict)

    @property
    def dense(self) -> bool:
        """Whether it is a large network of plain convolutions."""
        return not self.depthwise and self.parameters > 5_000_000

    def function(self):
        """Imports and returns the constructor."""
        module, _, name = self.constructor.rpartition(":")
        return getattr(importlib.import_module(module or "keras.applications"), name)


BACKBONES: dict[str, Backbone] = {}
PUBLISHED = "imagenet"
"""The word of `--weights` for those that the makers of a network published."""


def register(name: str, backbone: Backbone) -> None:
    """Registers a network under a new name.

    Raises:
        ValueError: the name is taken.
    """
    if BACKBONES.get(name, backbone) != backbone:
        raise ValueError(f"The backbone {name!r} is already registered.")
    BACKBONES[name] = backbone


def import_modules(names: str | None) -> None:
    """Imports the modules of `--import=my_module,...`, which register networks, modalities, sources and the like.

    Raises:
        UserError: a module is not there, or fails.
    """
    for name in split_list(names or ""):
        if name in sys.modules:
            continue
        # It may be the first to import TensorFlow, which greets on standard error.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            with quiet():
                importlib.import_module(name)
        # A foreign module may raise any error, or leave the program.
        except (Exception, SystemExit) as e:
            raise UserError(
                f"--import={one_line(name)}: the module cannot be imported ({type(e).__name__}: {one_line(e)}); "
                "install it, or put its folder on PYTHONPATH."
            ) from e


def find_backbone(spec: str) -> Backbone:
    """Returns the backbone that a spec names: `resnet50`, `mobilenet(alpha=0.25)`.

    Raises:
        UserError: the name is unknown (the message lists the known ones), or the spec has positional arguments.
    """
    parsed = parse_spec(spec, "--backbone")
    if parsed.name not in BACKBONES:
        raise unknown_name("--backbone", parsed.name, sorted(BACKBONES))
    if parsed.args:
        raise UserError(f"--backbone={one_line(spec)!r}: name the arguments, as in mobilenet(alpha=0.25).")
    return replace(BACKBONES[parsed.name], arguments=parsed.kwargs)


def check_size(backbone: Backbone, size: int) -> None:
    """Refuses an input size below the smallest that the network takes, or above the largest of its modality."""
    modality = base.find(backbone.modality)
    if size < backbone.smallest:
        smallest = modality.told(backbone.smallest)
        raise UserError(f"--input_size={size}: this backbone takes {smallest} or more (native: {backbone.size}).")
    if size > modality.largest:
        raise UserError(f"--input_size={size}: expected {modality.told(modality.largest)} or less.")


def layer_pattern(pattern: str) -> re.Pattern:
    """Returns the compiled regular expression of `--unfreeze`."""
    try:
        return re.compile(pattern)
    except re.error as e:
        raise UserError(f"--unfreeze={one_line(pattern)!r} is not a regular expression: {e}.") from e


def build(backbone: Backbone, size: int, weights: str | None = None) -> "keras.Model":
    """Builds the network without its top: preprocessed inputs to `[B, D]` features.

    Args:
        backbone: the spec.
        size: input size.
        weights: None for random, or `PUBLISHED`.

    Raises:
        UserError: a size below the smallest, or arguments that the constructor does not take.
    """
    check_size(backbone, size)
    modality = base.find(backbone.modality)
    # Unknown arguments are refused before the network is built.
    constructor_arguments(backbone)
    try:
        return modality.build(backbone, size, weights)
    except (ValueError, TypeError) as e:
        given = one_line(", ".join(f"{name}={value!r}" for name, value in backbone.arguments.items()))
        name = backbone.function().__name__
        raise UserError(
            f"--backbone: {name} refused its arguments, {given or 'none'}: {one_line(e, 300)} Expected values as the "
            f"documentation of {name} has them."
        ) from e


def constructor_arguments(backbone: Backbone) -> dict:
    """Returns the arguments for the constructor that the spec or the package sets.

    Raises:
        UserError: arguments that the constructor does not take.
    """
    function = backbone.function()
    takes, reserved = set(inspect.signature(function).parameters), base.find(backbone.modality).reserved
    arguments = dict(backbone.arguments)
    if unknown := set(arguments) - (takes - reserved):
        raise UserError(
            f"--backbone: {function.__name__} does not take {', '.join(sorted(map(one_line, unknown)))}; "
            f"it takes: {', '.join(sorted(takes - reserved)) or 'nothing'}."
        )
    if "include_preprocessing" in takes:
        arguments["include_preprocessing"] = False
    return arguments
