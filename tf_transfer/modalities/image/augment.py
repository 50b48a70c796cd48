"""Random augmentation on the device, vectorised over the batch and without state.

Every operation is a function of the pictures and of the uniform numbers that came with each example
(`batches.DRAWS` of them), so that augmentation depends on (seed, epoch, example) and on nothing else:
not on the replica, nor on how often a run was interrupted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tf_transfer.errors import UserError
from tf_transfer.registry import Registry, check_range, split_list

# Factories of (images, uniform) -> images; each notes the columns of `uniform` that it reads.
AUGMENTATIONS = Registry("augmentation")
# Factories of (images, others, mix, uniform) -> (images, mix as the share of the first picture).
MIXERS = Registry("mixing augmentation")


@dataclass(frozen=True)
class Augmentation:
    """A parsed `--augment`.

    Attributes:
        operations: applied in order to `[B, H, W, 3]` pictures.
        mixer: mixes each picture with another, or None.
        mix_alpha: of the mixing law, 0 without a mixer.
    """

    operations: tuple[Callable, ...] = ()
    mixer: Callable | None = None
    mix_alpha: float = 0.0

    def __call__(self, batch: dict, num_classes: int, smoothing: float = 0.0) -> tuple[tf.Tensor, tf.Tensor]:
        """Augments a batch of `batches.Batches`.

        Returns:
            The pictures, uint8 or float32 `[B, H, W, 3]`, and float32 `[B, C]` target probabilities.
        """
        images = self.pictures(batch["inputs"], batch["uniform"])
        targets = one_hot(batch["label"], num_classes, smoothing)
        if self.mixer is None:
            return images, targets
        others = self.pictures(batch["inputs2"], batch["uniform"])
        images, share = self.mixer(
            tf.cast(images, tf.float32), tf.cast(others, tf.float32), batch["mix"], batch["uniform"]
        )
        others_targets = one_hot(batch["label2"], num_classes, smoothing)
        return images, share[:, None] * targets + (1.0 - share[:, None]) * others_targets

    def pictures(self, images: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Augments pictures `[B, H, W, 3]` by their numbers `[B, DRAWS]`; nothing is mixed."""
        for operation in self.operations:
            images = operation(images, uniform)
        return images


def parse(text: str) -> Augmentation:
    """Parses `none` or a list such as `flip,crop(0.125),mixup(0.2)`.

    Raises:
        UserError: an unknown operation, or two mixers.
    """
    operations, mixers = [], []
    for part in split_list(text):
        name = part.partition("(")[0].strip()
        if name == "none":
            continue
        if name in MIXERS:
            mixers.append(MIXERS.create(part))
        elif name in AUGMENTATIONS:
            operations.append(AUGMENTATIONS.create(part))
        else:
            known = Registry("--augment operation")
            for each in ("none", *AUGMENTATIONS.names(), *MIXERS.names()):
                known.register(each)(None)
            known.factory(name)
    if len(mixers) > 1:
        raise UserError(f"--augment={text!r}: one of mixup and cutmix, not both.")
    mixer, alpha = mixers[0] if mixers else (None, 0.0)
    return Augmentation(tuple(operations), mixer, alpha)


def one_hot(labels: tf.Tensor, num_classes: int, smoothing: float = 0.0) -> tf.Tensor:
    """Returns float32 `[B, C]` targets: 1 - smoothing on the label plus smoothing / C on every class."""
    return tf.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / num_classes


@AUGMENTATIONS.register("flip")
def flip():
    """Mirrors left and right with probability 1/2. Reads column 0."""

    def apply(images, uniform):
        width = tf.shape(images)[2]
        columns = tf.range(width)
        mirrored = tf.where(uniform[:, :1] < 0.5, (width - 1 - columns)[None], columns[None])
        return tf.gather(images, mirrored, axis=2, batch_dims=1)

    return apply


@AUGMENTATIONS.register("crop")
def crop(pad: float = 0.125):
    """Shifts by up to `pad` of each side in whole pixels, reflecting what comes in. Reads columns 1, 2.

    At 32 px and pad 1/8 this is the usual CIFAR augmentation: pad by 4, crop 32.
    """
    check_range("--augment", "crop(pad)", pad, 0.0, 0.5)

    def shifted(size, numbers):
        margin = tf.cast(tf.round(pad * tf.cast(size, tf.float32)), tf.int32)
        offset = tf.cast(numbers * tf.cast(2 * margin + 1, tf.float32), tf.int32) - margin
        index = tf.abs(tf.range(size)[None] + offset[:, None])
        return tf.where(index >= size, 2 * (size - 1) - index, index)

    def apply(images, uniform):
        shape = tf.shape(images)
        images = tf.gather(images, shifted(shape[1], uniform[:, 1]), axis=1, batch_dims=1)
        return tf.gather(images, shifted(shape[2], uniform[:, 2]), axis=2, batch_dims=1)

    return apply


@AUGMENTATIONS.register("resized_crop")
def resized_crop(smallest: float = 0.35, ratio: float = 4 / 3):
    """Cuts out a rectangle and scales it back to the full size. Reads columns 1 to 4.

    Its area is uniform in [smallest, 1] of the picture, its aspect ratio log-uniform in
    [1/ratio, ratio] (Szegedy et al. 2015, arXiv:1409.4842); a side longer than the picture is cut to it.
    """
    check_range("--augment", "resized_crop(smallest)", smallest, 0.01, 1.0)
    check_range("--augment", "resized_crop(ratio)", ratio, 1.0, 10.0)

    def apply(images, uniform):
        """Cuts and scales `[B, H, W, 3]`."""
        area = smallest + (1.0 - smallest) * uniform[:, 3]
        aspect = tf.exp((2.0 * uniform[:, 4] - 1.0) * tf.math.log(tf.cast(ratio, tf.float32)))
        height, width = tf.minimum(tf.sqrt(area / aspect), 1.0), tf.minimum(tf.sqrt(area * aspect), 1.0)
        top, left = uniform[:, 1] * (1.0 - height), uniform[:, 2] * (1.0 - width)
        boxes = tf.stack([top, left, top + height, left + width], axis=1)
        size = tf.shape(images)
        return tf.image.crop_and_resize(tf.cast(images, tf.float32), boxes, tf.range(size[0]), size[1:3])

    return apply


@MIXERS.register("mixup")
def mixup(alpha: float = 0.2):
    """Blends two pictures and their labels (Zhang et al. 2018, arXiv:1710.09412)."""
    check_range("--augment", "mixup(alpha)", alpha, 1e-3, 10.0)

    def apply(images, others, mix, uniform):
        share = mix[:, None, None, None]
        return share * images + (1.0 - share) * others, mix

    return apply, alpha


@MIXERS.register("cutmix")
def cutmix(alpha: float = 1.0):
    """Pastes a rectangle of another picture, labels by area (Yun et al. 2019, arXiv:1905.04899). Columns 5, 6."""
    check_range("--augment", "cutmix(alpha)", alpha, 1e-3, 10.0)

    def span(size, centre, half):
        pixel = (tf.range(tf.cast(size, tf.float32)) + 0.5) / tf.cast(size, tf.float32)
        return tf.abs(pixel[None] - centre[:, None]) < half[:, None]

    def apply(images, others, mix, uniform):
        """Pastes `others` into `images`; returns them and the share that is left."""
        half = tf.sqrt(1.0 - mix) / 2.0
        shape = tf.shape(images)
        rows, columns = span(shape[1], uniform[:, 5], half), span(shape[2], uniform[:, 6], half)
        inside = tf.cast(rows[:, :, None] & columns[:, None, :], tf.float32)
        # The rectangle is cut at the border: the label follows the area that is really there.
        share = 1.0 - tf.reduce_mean(inside, (1, 2))
        return images * (1.0 - inside[..., None]) + others * inside[..., None], share

    return apply, alpha
