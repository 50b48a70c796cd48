"""Random augmentation of pictures; see `modalities.augmentation`."""

import tensorflow as tf

from tf_transfer.modalities import augmentation
from tf_transfer.registry import Registry, check_range

# Factories of (images, uniform) -> images; each notes the columns of `uniform` that it reads.
AUGMENTATIONS = Registry("augmentation")
# Factories of (images, others, mix, uniform) -> (images, mix as the share of the first picture).
MIXERS = Registry("mixing augmentation")


def parse(text: str) -> augmentation.Augmentation:
    """Parses `none` or a list such as `flip,crop(0.125),mixup(0.2)`, see `augmentation.parse`."""
    return augmentation.parse(text, AUGMENTATIONS, MIXERS)


@AUGMENTATIONS.register("flip")
def flip():
    """Mirrors left and right with probability 1/2. Reads column 0."""

    def apply(images, uniform):
        width = tf.shape(images)[2]
        columns = tf.range(width)
        mirrored = tf.where(uniform[:, :1] < 0.5, (width - 1 - columns)[None], columns[None])
        return tf.gather(images, mirrored, axis=2, batch_dims=1)

    apply.mirror = lambda images: images[:, :, ::-1]
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
        # The border cuts the rectangle: the label follows the area that remains.
        share = 1.0 - tf.reduce_mean(inside, (1, 2))
        return images * (1.0 - inside[..., None]) + others * inside[..., None], share

    return apply, alpha
