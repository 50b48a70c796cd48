"""The pretrained networks: one spec line each, known by name without importing Keras."""

import importlib
import inspect
import re
from dataclasses import dataclass, field, replace

from tf_transfer.errors import UserError, one_line
from tf_transfer.registry import parse_spec, unknown_name


@dataclass(frozen=True)
class Backbone:
    """What has to be known of a network before it is built.

    Attributes:
        constructor: function of `keras.applications`, or `module:function`.
        mode: how its ImageNet weights expect pixels, a mode of `imagenet_utils.preprocess_input`
            (`caffe`: BGR minus mean, `tf`: [-1, 1], `torch`: mean and deviation), `v2` for x / 128 - 1,
            or `raw` for [0, 255].
        size: native input side in pixels.
        parameters: of the network without its top, at the default arguments.
        smallest: smallest input side it takes, in pixels.
        imagenet: whether ImageNet weights are published.
        bn: BatchNorm policy of the full phase by default, `train` or `frozen`; `train` where nobody has measured
            otherwise (`python -m benchmarks.results --only=bn_policy`).
        depthwise: it spends its time in depthwise convolutions, which gain little or nothing by bfloat16 on a CPU
            without AMX (`python -m benchmarks.precision`).
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
    arguments: dict = field(default_factory=dict)

    @property
    def dense(self) -> bool:
        """Whether it is a large network of plain convolutions."""
        return not self.depthwise and self.parameters > 5_000_000

    def function(self):
        """Imports and returns the constructor."""
        module, _, name = self.constructor.rpartition(":")
        return getattr(importlib.import_module(module or "keras.applications"), name)


BACKBONES: dict[str, Backbone] = {
    "convnext_base": Backbone("ConvNeXtBase", "torch", 224, 87_566_464, depthwise=True),
    "convnext_large": Backbone("ConvNeXtLarge", "torch", 224, 196_230_336, depthwise=True),
    "convnext_small": Backbone("ConvNeXtSmall", "torch", 224, 49_454_688, depthwise=True),
    "convnext_tiny": Backbone("ConvNeXtTiny", "torch", 224, 27_820_128, depthwise=True),
    "convnext_xlarge": Backbone("ConvNeXtXLarge", "torch", 224, 348_147_968, depthwise=True),
    "densenet121": Backbone("DenseNet121", "torch", 224, 7_037_504),
    "densenet169": Backbone("DenseNet169", "torch", 224, 12_642_880),
    "densenet201": Backbone("DenseNet201", "torch", 224, 18_321_984),
    "efficientnetb0": Backbone("EfficientNetB0", "raw", 224, 4_049_571, depthwise=True),
    "efficientnetb1": Backbone("EfficientNetB1", "raw", 240, 6_575_239, depthwise=True),
    "efficientnetb2": Backbone("EfficientNetB2", "raw", 260, 7_768_569, depthwise=True),
    "efficientnetb3": Backbone("EfficientNetB3", "raw", 300, 10_783_535, depthwise=True),
    "efficientnetb4": Backbone("EfficientNetB4", "raw", 380, 17_673_823, depthwise=True),
    "efficientnetb5": Backbone("EfficientNetB5", "raw", 456, 28_513_527, depthwise=True),
    "efficientnetb6": Backbone("EfficientNetB6", "raw", 528, 40_960_143, depthwise=True),
    "efficientnetb7": Backbone("EfficientNetB7", "raw", 600, 64_097_687, depthwise=True),
    "efficientnetv2b0": Backbone("EfficientNetV2B0", "torch", 224, 5_919_312, depthwise=True),
    "efficientnetv2b1": Backbone("EfficientNetV2B1", "torch", 240, 6_931_124, depthwise=True),
    "efficientnetv2b2": Backbone("EfficientNetV2B2", "torch", 260, 8_769_374, depthwise=True),
    "efficientnetv2b3": Backbone("EfficientNetV2B3", "torch", 300, 12_930_622, depthwise=True),
    "efficientnetv2l": Backbone("EfficientNetV2L", "v2", 480, 117_746_848, depthwise=True),
    "efficientnetv2m": Backbone("EfficientNetV2M", "v2", 480, 53_150_388, depthwise=True),
    "efficientnetv2s": Backbone("EfficientNetV2S", "v2", 384, 20_331_360, depthwise=True),
    "inception_resnet_v2": Backbone("InceptionResNetV2", "tf", 299, 54_336_736, 75),
    "inception_v3": Backbone("InceptionV3", "tf", 299, 21_802_784, 75),
    "mobilenet": Backbone("MobileNet", "tf", 224, 3_228_864, depthwise=True),
    "mobilenet_v2": Backbone("MobileNetV2", "tf", 224, 2_257_984, depthwise=True),
    "mobilenet_v3_large": Backbone("MobileNetV3Large", "tf", 224, 2_996_352, depthwise=True),
    "mobilenet_v3_small": Backbone("MobileNetV3Small", "tf", 224, 939_120, depthwise=True),
    "nasnet_large": Backbone("NASNetLarge", "tf", 331, 84_916_818, depthwise=True),
    "nasnet_mobile": Backbone("NASNetMobile", "tf", 224, 4_269_716, depthwise=True),
    "resnet101": Backbone("ResNet101", "caffe", 224, 42_658_176),
    "resnet101v2": Backbone("ResNet101V2", "tf", 224, 42_626_560),
    "resnet152": Backbone("ResNet152", "caffe", 224, 58_370_944),
    "resnet152v2": Backbone("ResNet152V2", "tf", 224, 58_331_648),
    "resnet50": Backbone("ResNet50", "caffe", 224, 23_587_712),
    "resnet50v2": Backbone("ResNet50V2", "tf", 224, 23_564_800),
    "small_resnet": Backbone(
        "tf_transfer.modalities.image.small_resnet:SmallResNet", "tf", 32, 78_064, 16, imagenet=False
    ),
    "vgg16": Backbone("VGG16", "caffe", 224, 14_714_688),
    "vgg19": Backbone("VGG19", "caffe", 224, 20_024_384),
    "xception": Backbone("Xception", "tf", 299, 20_861_480, 71),
}

# Arguments of the constructors that the package sets itself.
_RESERVED = {"include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "classifier_activation",
             "include_preprocessing", "name", "dropout", "dropout_rate"}  # fmt: skip


def find_backbone(spec: str) -> Backbone:
    """Returns the backbone a spec names: `resnet50`, `mobilenet(alpha=0.25)`.

    Raises:
        UserError: unknown name, with the known ones, the nearest first; positional arguments.
    """
    parsed = parse_spec(spec)
    if parsed.name not in BACKBONES:
        raise unknown_name("--backbone", parsed.name, sorted(BACKBONES))
    if parsed.args:
        raise UserError(f"--backbone={one_line(spec)!r}: name the arguments, as in mobilenet(alpha=0.25).")
    return replace(BACKBONES[parsed.name], arguments=parsed.kwargs)


def check_size(backbone: Backbone, size: int) -> None:
    """Refuses an input side below the smallest that the network takes."""
    if size < backbone.smallest:
        raise UserError(
            f"--image_size={size}: this backbone takes {backbone.smallest} px or more (native: {backbone.size})."
        )


def layer_pattern(pattern: str) -> re.Pattern:
    """Returns the compiled regular expression of `--unfreeze`."""
    try:
        return re.compile(pattern)
    except re.error as e:
        raise UserError(f"--unfreeze={one_line(pattern)!r} is not a regular expression: {e}.") from e


def build(backbone: Backbone, size: int, weights: str | None = None):
    """Builds the network without its top: float `[B, size, size, 3]` to `[B, D]` pooled features.

    Args:
        backbone: the spec.
        size: input side in pixels.
        weights: None for random, or `imagenet`.

    Raises:
        UserError: a size below the smallest, or arguments that the constructor does not take.
    """
    check_size(backbone, size)
    function, arguments = backbone.function(), constructor_arguments(backbone)
    try:
        return function(include_top=False, weights=weights, input_shape=(size, size, 3), pooling="avg", **arguments)
    except (ValueError, TypeError) as e:
        raise UserError(f"--backbone: {function.__name__} refused its arguments: {one_line(e, 300)}") from e


def constructor_arguments(backbone: Backbone) -> dict:
    """Returns the arguments for the constructor that the spec or the package sets.

    Raises:
        UserError: arguments that the constructor does not take.
    """
    function = backbone.function()
    takes = set(inspect.signature(function).parameters)
    arguments = dict(backbone.arguments)
    if unknown := set(arguments) - (takes - _RESERVED):
        raise UserError(
            f"--backbone: {function.__name__} does not take {', '.join(sorted(map(one_line, unknown)))}; "
            f"it takes: {', '.join(sorted(takes - _RESERVED)) or 'nothing'}."
        )
    if "include_preprocessing" in takes:
        arguments["include_preprocessing"] = False
    return arguments


def preprocess(pixels, mode: str):
    """Scales float RGB pixels in [0, 255] to what weights of this mode expect."""
    if mode == "raw":
        return pixels
    if mode == "v2":  # EfficientNetV2 S to L were trained on this, not on the usual x / 127.5 - 1.
        return pixels / 128.0 - 1.0
    from keras.applications import imagenet_utils

    return imagenet_utils.preprocess_input(pixels, data_format="channels_last", mode=mode)
