"""Decodes picture files in the same way in tf.data, eagerly, and inside the exported model."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tf_transfer.modalities.image import orientation
from tf_transfer.modalities.image.limits import CONVERTED, MAX_PIXELS, MOVING, NO_PICTURE, TOO_LARGE
from tf_transfer.serving import conversion


def decode(content: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG, PNG, GIF (first frame), BMP or WebP file to RGB.

    Grey is repeated to three channels, palettes are looked up, CMYK is converted, 16 bits are scaled to
    8, 65535 to 255, and transparent pixels of a PNG or WebP are laid on white, as in a viewer (in a GIF they become
    black). The EXIF orientation of a JPEG, PNG or WebP is applied, see `orientation`. Works eagerly and
    inside a graph.

    Args:
        content: scalar string, the bytes of the file.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no such picture, are cut short, or claim more than `MAX_PIXELS`.
    """
    head = start(content)
    cases = [
        (form.matches(head), lambda form=form: (form.decode(content), form.orientation(content))) for form in FORMATS
    ]
    stored, turn = tf.case(cases, default=lambda: _refused(head))
    return tf.ensure_shape(orientation.upright(stored, turn), (None, None, 3))


def start(contents: tf.Tensor) -> tf.Tensor:
    """Returns the first 32 bytes of files, a string of any shape; shorter files are padded with zeros."""
    return tf.strings.substr(tf.strings.join([tf.strings.substr(contents, 0, 32), b"\0" * 32]), 0, 32)


def is_converted(heads: tf.Tensor) -> tf.Tensor:
    """Says of files, by what `start` returned, whether they are TIFF, AVIF or HEIC, see `conversion.kind`."""
    brands = tf.constant([b"ftyp" + brand for brand in conversion.AVIF + conversion.HEIC])
    tiff = tf.strings.substr(heads, 0, 4)[..., None] == tf.constant(conversion.TIFF)
    return tf.reduce_any(tiff, -1) | tf.reduce_any(tf.strings.substr(heads, 4, 8)[..., None] == brands, -1)


def no_picture(heads: tf.Tensor) -> tf.Tensor:
    """Returns why files of no `FORMATS` are refused, by what `start` returned."""
    return tf.where(is_converted(heads), CONVERTED, NO_PICTURE)


@dataclass(frozen=True)
class Format:
    """A kind of picture file.

    `tf.io.decode_image` would drop an alpha channel, read a BMP palette's indices as grey, and decode JPEG with the
    coarse inverse DCT. So each kind has a decoder of its own.

    Attributes:
        magic: bytes that identify the kind.
        at: their position in the file.
        sides: maps a scalar file to the two sides in its header; fails for a JPEG without them.
        pixels: maps a scalar file to uint8 `[H, W, 3]`.
        moving: says whether a scalar file has several frames that would all be decoded.
        exif: where its files keep an orientation; None for a kind that has none.
    """

    magic: bytes
    at: int
    sides: Callable[[tf.Tensor], tf.Tensor]
    pixels: Callable[[tf.Tensor], tf.Tensor]
    moving: Callable[[tf.Tensor], tf.Tensor] = lambda content: tf.constant(False)
    exif: orientation.Exif | None = None

    def matches(self, head: tf.Tensor) -> tf.Tensor:
        """Returns bool of the shape of `head`, which `start` returned."""
        return tf.strings.substr(head, self.at, len(self.magic)) == self.magic

    def refused(self, content: tf.Tensor) -> tf.Tensor:
        """Returns why the header of a scalar file rules out decoding it; empty if nothing does."""
        too_large = tf.reduce_prod(tf.cast(self.sides(content), tf.int64)) > MAX_PIXELS
        return tf.where(too_large, TOO_LARGE, tf.where(self.moving(content), MOVING, ""))

    def orientation(self, content: tf.Tensor) -> tf.Tensor:
        """Returns the EXIF orientation of a scalar file of this kind, int32; never fails."""
        return tf.constant(1) if self.exif is None else self.exif.orientation(content)

    def orientations(self, contents: tf.Tensor) -> tf.Tensor:
        """Returns the EXIF orientations of files of this kind, string `[N]` to int32 `[N]`; never fails."""
        return tf.ones_like(contents == "", tf.int32) if self.exif is None else self.exif.orientations(contents)

    def decode(self, content: tf.Tensor) -> tf.Tensor:
        """Decodes a scalar file of this kind as it is stored; a refused file fails first."""
        reason = self.refused(content)
        with tf.control_dependencies([tf.debugging.Assert(reason == "", [reason])]):
            return self.pixels(tf.identity(content))


def _refused(head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # TensorFlow reads some other kinds too, whose size cannot be read from a few bytes: they are refused.
    with tf.control_dependencies([tf.debugging.Assert(False, [no_picture(head)])]):
        return tf.zeros((0, 0, 3), tf.uint8), tf.constant(1)


def _numbers(content: tf.Tensor, position: int, kind: tf.DType, little_endian: bool = True) -> tf.Tensor:
    """Returns two numbers of a header; 0 where it is cut short, which the decoder then reports."""
    return tf.io.decode_raw(tf.strings.substr(start(content), position, 2 * kind.size), kind, little_endian)


def _jpeg(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _gif(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(content, channels=3, expand_animations=False)


def _png(content: tf.Tensor) -> tf.Tensor:
    # Byte 24 tells the bits of a channel. As uint8, 16 bits would be cut to the upper 8, and white be 254.996.
    bits = tf.cast(tf.io.decode_raw(tf.strings.substr(start(content), 24, 1), tf.uint8)[0], tf.int32)
    rgba = tf.cond(bits == 16, lambda: _of_16_bits(content), lambda: tf.io.decode_png(content, channels=4))
    # A file without transparency gets the largest value of its depth as alpha: 1, 3 or 15 for 1, 2 or 4
    # bits, while its colours are scaled to 8 bits.
    opaque = tf.reduce_all(tf.cast(rgba[..., 3], tf.int32) == tf.bitwise.left_shift(1, tf.minimum(bits, 8)) - 1)
    return tf.cond(opaque, lambda: rgba[..., :3], lambda: _on_white(rgba))


def _of_16_bits(content: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG of 16 bits: round(x / 257), in whole numbers."""
    values = tf.cast(tf.io.decode_png(content, channels=4, dtype=tf.uint16), tf.int32)
    return tf.cast((values + 128) // 257, tf.uint8)


def _on_white(rgba: tf.Tensor) -> tf.Tensor:
    rgba = tf.cast(rgba, tf.float32)
    alpha = rgba[..., 3:] / 255.0
    return tf.cast(tf.round(rgba[..., :3] * alpha + 255.0 * (1.0 - alpha)), tf.uint8)


def _bmp(content: tf.Tensor) -> tf.Tensor:
    # Bytes 28 to 33: the bits of a pixel, and the compression, none in these files.
    told = tf.strings.substr(content, 28, 6)
    few = [(told == bytes([bits]) + b"\0" * 5, lambda bits=bits: _bmp_of_few_bits(content, bits)) for bits in (1, 4)]
    return tf.case(few, default=lambda: _bmp_of_bytes(content))


def _bmp_of_few_bits(content: tf.Tensor, bits: int) -> tf.Tensor:
    """Decodes a BMP whose bytes hold several pixels each; TensorFlow refuses them."""
    header = tf.io.decode_raw(tf.strings.substr(content, 10, 16), tf.int32)
    width, height = header[2], tf.abs(header[3])
    # Rows fill four bytes each, the lowest first, unless the height is negative.
    row = (width * bits + 31) // 32 * 4
    stored = tf.reshape(
        tf.io.decode_raw(tf.strings.substr(content, header[0], row * height), tf.uint8), (height, row, 1)
    )
    shifts = tf.range(8 - bits, -1, -bits)
    indices = tf.bitwise.right_shift(tf.cast(stored, tf.int32), shifts) % (1 << bits)
    indices = tf.reshape(indices, (height, row * 8 // bits))[:, :width]
    return _look_up(content, tf.cond(header[3] > 0, lambda: indices[::-1], lambda: indices))


def _bmp_of_bytes(content: tf.Tensor) -> tf.Tensor:
    # Bytes 28-29 hold the bits a pixel: TensorFlow reads 8, 24 and 32 and refuses the others.
    stored = tf.io.decode_bmp(content)
    palette = tf.strings.substr(start(content), 28, 2) == b"\x08\0"
    return tf.cond(palette, lambda: _look_up(content, stored[..., 0]), lambda: stored[..., :3])


def _look_up(content: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    # The palette, 4 bytes a colour (blue, green, red, unused), is between the headers and the pixels.
    header = tf.io.decode_raw(tf.strings.substr(content, 10, 8), tf.int32)
    pixels_at, palette_at = header[0], 14 + header[1]
    palette = tf.io.decode_raw(tf.strings.substr(content, palette_at, pixels_at - palette_at), tf.uint8)
    return tf.gather(tf.reshape(palette, (-1, 4))[:, 2::-1], tf.cast(indices, tf.int32))


def _webp_sides(content: tf.Tensor) -> tf.Tensor:
    """Sides by the first chunk, by the WebP container specification: lossy, lossless or extended."""
    head = tf.cast(tf.io.decode_raw(start(content), tf.uint8), tf.int32)
    lossy = tf.stack([head[26] + 256 * head[27], head[28] + 256 * head[29]]) % (1 << 14)
    packed = head[21] + 256 * head[22] + 65536 * head[23] + (1 << 24) * (head[24] % 64)
    lossless = 1 + tf.stack([packed % (1 << 14), packed // (1 << 14)])
    extended = 1 + tf.stack([head[at] + 256 * head[at + 1] + 65536 * head[at + 2] for at in (24, 27)])
    return tf.where(head[15] == ord("X"), extended, tf.where(head[15] == ord("L"), lossless, lossy))


def _webp_moves(content: tf.Tensor) -> tf.Tensor:
    # Bit 1 of byte 20 of the extended form says that there are several frames.
    head = tf.cast(tf.io.decode_raw(start(content), tf.uint8), tf.int32)
    return (head[15] == ord("X")) & (head[20] // 2 % 2 == 1)


def _webp(content: tf.Tensor) -> tf.Tensor:
    stored = tf.io.decode_webp(content)[0]
    return tf.cond(tf.shape(stored)[2] == 4, lambda: _on_white(stored), lambda: stored[..., :3])


FORMATS = (
    Format(b"\xff\xd8\xff", 0, lambda c: tf.image.extract_jpeg_shape(c)[:2], _jpeg, exif=orientation.JPEG),
    Format(b"\x89PNG", 0, lambda c: _numbers(c, 16, tf.int32, little_endian=False), _png, exif=orientation.PNG),
    Format(b"GIF8", 0, lambda c: _numbers(c, 6, tf.uint16), _gif),
    Format(b"BM", 0, lambda c: tf.abs(_numbers(c, 18, tf.int32)), _bmp),
    Format(b"WEBP", 8, _webp_sides, _webp, _webp_moves, orientation.WEBP),
)
