"""The two operations every picture goes through, shared by training, evaluation and the exported model."""

import tensorflow as tf

from tf_transfer.data.limits import MAX_PIXELS, TOO_LARGE


def resize(images: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes images to a square, without padding, onto the uint8 grid.

    Bilinear with antialiasing when it shrinks, then rounded: a picture resized here once and
    stored as uint8 passes a second time unchanged, so a stored data set and a raw picture given
    to the exported model go through the same numbers.

    Args:
        images: `[B, H, W, C]` or `[H, W, C]`, any numeric type, values in [0, 255].
        size: side of the result in pixels.

    Returns:
        float32 `[..., size, size, C]` of whole numbers in [0, 255].
    """
    images = tf.cast(images, tf.float32)
    height, width = images.shape[-3], images.shape[-2]
    if height is None or width is None:
        # The kernel follows the sizes at run time: the two differ by a grey level where both apply.
        shrinks = tf.reduce_max(tf.shape(images)[-3:-1]) > size
        images = tf.cond(shrinks, lambda: _bilinear(images, size, True), lambda: _bilinear(images, size, False))
    elif (height, width) != (size, size):
        images = _bilinear(images, size, max(height, width) > size)
    # Its weights are positive and add up to 1: nothing leaves [0, 255] by as much as the rounding takes back.
    return tf.round(images)


def _bilinear(images: tf.Tensor, size: int, antialias: bool) -> tf.Tensor:
    # The antialiasing kernel exists for CPU only; it is left out where it would change nothing.
    return tf.image.resize(images, (size, size), "bilinear", antialias=antialias)


def decode(content: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF (first frame) or BMP file to RGB.

    Grey is repeated to three channels, palettes are looked up, CMYK is converted, 16 bits are cut to
    8, and transparent pixels of a PNG are laid on white, as a viewer shows them (those of a GIF
    become black). An orientation in the EXIF data is not applied. Works eagerly and inside a graph.

    Args:
        content: scalar string, the bytes of the file.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no such picture, are cut short, or claim more than `MAX_PIXELS`.
    """
    # decode_image drops an alpha channel, takes a BMP palette's indices for grey and decodes JPEG with
    # the coarse inverse DCT; each of these goes its own way.
    image = tf.case(
        [
            (_at(content, 0, b"\x89PNG"), lambda: _png(content)),
            (_at(content, 0, b"\xff\xd8\xff"), lambda: _jpeg(content)),
            (_at(content, 0, b"BM"), lambda: _bmp(content)),
            (_at(content, 0, b"GIF8"), lambda: _gif(content)),
        ],
        default=_refused,
    )
    return tf.ensure_shape(image, (None, None, 3))


def _at(content: tf.Tensor, position: int, expected: bytes) -> tf.Tensor:
    return tf.strings.substr(content, position, len(expected)) == expected


def _allowed(sides: tf.Tensor) -> tf.Operation:
    """Fails where a header claims a picture that must not be decoded."""
    claimed = tf.reduce_prod(tf.cast(sides, tf.int64))
    return tf.debugging.Assert(claimed <= tf.constant(MAX_PIXELS, tf.int64), [TOO_LARGE])


def _refused() -> tf.Tensor:
    # TensorFlow reads some other kinds too, of whose size a few bytes say nothing.
    with tf.control_dependencies([tf.debugging.Assert(False, ["no JPEG, PNG, GIF or BMP picture"])]):
        return tf.zeros((0, 0, 3), tf.uint8)


def _numbers(content: tf.Tensor, position: int, kind: tf.DType, little_endian: bool = True) -> tf.Tensor:
    """Returns two numbers of a header, 0 where it is cut short: what decodes it says so best."""
    header = tf.strings.substr(tf.strings.join([content, b"\0" * 32]), position, 2 * kind.size)
    return tf.io.decode_raw(header, kind, little_endian)


def _jpeg(content: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([_allowed(tf.image.extract_jpeg_shape(content)[:2])]):
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _gif(content: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([_allowed(_numbers(content, 6, tf.uint16))]):
        return tf.io.decode_image(content, channels=3, expand_animations=False)


def _png(content: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([_allowed(_numbers(content, 16, tf.int32, little_endian=False))]):
        rgba = tf.io.decode_png(content, channels=4)
    # A file without transparency gets the largest value of its own depth as alpha: 1, 3 or 15 where
    # it has 1, 2 or 4 bits (byte 24), beside colours that were scaled to 8.
    bits = tf.cast(tf.io.decode_raw(tf.strings.substr(content, 24, 1), tf.uint8)[0], tf.int32)
    opaque = tf.reduce_all(tf.cast(rgba[..., 3], tf.int32) == tf.bitwise.left_shift(1, bits) - 1)
    return tf.cond(opaque, lambda: rgba[..., :3], lambda: _on_white(tf.cast(rgba, tf.float32)))


def _on_white(rgba: tf.Tensor) -> tf.Tensor:
    alpha = rgba[..., 3:] / 255.0
    return tf.cast(tf.round(rgba[..., :3] * alpha + 255.0 * (1.0 - alpha)), tf.uint8)


def _bmp(content: tf.Tensor) -> tf.Tensor:
    # Bytes 28-29 hold the bits a pixel: TensorFlow reads 8, 24 and 32 and refuses the others.
    with tf.control_dependencies([_allowed(tf.abs(_numbers(content, 18, tf.int32)))]):
        stored = tf.io.decode_bmp(content)
    return tf.cond(_at(content, 28, b"\x08\0"), lambda: _look_up(content, stored[..., 0]), lambda: stored[..., :3])


def _look_up(content: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    # The palette, 4 bytes a colour (blue, green, red, unused), stands between the headers and the pixels.
    header = tf.io.decode_raw(tf.strings.substr(content, 10, 8), tf.int32)
    pixels_at, palette_at = header[0], 14 + header[1]
    palette = tf.io.decode_raw(tf.strings.substr(content, palette_at, pixels_at - palette_at), tf.uint8)
    return tf.gather(tf.reshape(palette, (-1, 4))[:, 2::-1], tf.cast(indices, tf.int32))
