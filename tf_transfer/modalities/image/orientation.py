"""Turns pictures upright by the EXIF orientation in their files, with operations that a SavedModel can hold.

An EXIF block is a small TIFF file. `JPEG`, `PNG` and `WEBP` find it in a file and read the orientation, and `upright`
turns the pixels, all as Pillow's `ImageOps.exif_transpose` does; a damaged block counts as none. No content makes
these operations fail, and every loop has a limit on its steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

TAG = 274
"""The EXIF tag of the orientation."""
# Bytes of a value by TIFF type, 0 where there is no such type; and which types are whole numbers.
_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8)
_WHOLE = tuple(kind in (3, 4, 6, 8, 9, 13, 16) for kind in range(len(_BYTES)))
# Starts of a block: two that the standard has, and three that Pillow accepts.
_STARTS = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+")
_MARK = b"Exif\0\0"
# The axes that a picture is flipped on by its orientation minus 1; from 5 on, rows and columns are exchanged before.
_FLIPS = ((0, 0), (0, 1), (1, 1), (1, 0), (0, 0), (0, 1), (1, 1), (1, 0))
# JPEG markers without a length: those that restart, start and end, reserved ones, and a stuffed 0.
_BARE = tuple(mark in (0x00, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)) for mark in range(256))
# Weights of the bytes of a number in a PNG file.
_POWERS = (1 << 24, 1 << 16, 1 << 8, 1)
# Limits: steps of a loop, bytes of a block in parts, and chunks of one length that are passed in one step.
_STEPS, _LARGEST, _ALIKE = 4096, 1 << 20, 256


@dataclass(frozen=True)
class Exif:
    """Where a kind of file keeps its EXIF block.

    Attributes:
        name: bytes that each file with a block holds somewhere; few others do.
        read: maps a scalar file of the kind to its orientation.
    """

    name: str
    read: Callable[[tf.Tensor], tf.Tensor]

    def orientation(self, content: tf.Tensor) -> tf.Tensor:
        """Returns the orientation of a scalar file, int32: 1 (as it is) to 8."""
        return tf.cond(self._named(content), lambda: self.read(content), lambda: 1)

    def orientations(self, contents: tf.Tensor) -> tf.Tensor:
        """Returns the orientations of files, string `[N]` to int32 `[N]`."""
        named = self._named(contents)

        def search() -> tf.Tensor:
            rows = tf.where(named)
            found = tf.map_fn(self.read, tf.gather_nd(contents, rows), fn_output_signature=tf.TensorSpec((), tf.int32))
            return tf.tensor_scatter_nd_update(tf.ones_like(named, tf.int32), rows, found)

        return tf.cond(tf.reduce_any(named), search, lambda: tf.ones_like(named, tf.int32))

    def _named(self, contents: tf.Tensor) -> tf.Tensor:
        """Says which files may have a block: most have none, and a scan takes a hundredth of the time of a search."""
        return tf.strings.regex_full_match(contents, rf"\C*{self.name}\C*")


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns a picture `[H, W, C]` by its orientation, a scalar from 1 (as it is) to 8."""

    def turned() -> tf.Tensor:
        # As floats, exact for uint8: on some processors oneDNN writes to standard error that it transposes no integers.
        whole = tf.cast(image, tf.float32)
        exchanged = tf.cond(orientation > 4, lambda: tf.transpose(whole, (1, 0, 2)), lambda: whole)
        axes = tf.where(tf.gather(_FLIPS, orientation - 1) > 0)[:, 0]
        return tf.cast(tf.reverse(exchanged, axes), image.dtype)

    return tf.cond(orientation > 1, turned, lambda: image)


def _stated(block: tf.Tensor) -> tf.Tensor:
    """Returns the orientation that an EXIF block states; 1 where there is none, or it is damaged."""
    block = tf.strings.regex_replace(block, r"^(Exif\x00\x00){1,2}", "")
    known = tf.reduce_any(tf.strings.substr(block, 0, 4) == tf.constant(_STARTS)) & (tf.strings.length(block) >= 8)
    return tf.cond(known, lambda: _read(block), lambda: 1)


def _read(block: tf.Tensor) -> tf.Tensor:
    """Reads the directory of a block; an entry whose value lies outside ends it."""
    raw = tf.io.decode_raw(block, tf.uint8)
    length, little = tf.size(raw, tf.int64), raw[0] == ord("I")

    def number(values: tf.Tensor) -> tf.Tensor:
        """Joins the bytes on the last axis to whole numbers."""
        shifts = 8 * tf.range(tf.shape(values, tf.int64)[-1])
        return tf.reduce_sum(
            tf.bitwise.left_shift(tf.cast(values, tf.int64), tf.where(little, shifts, shifts[::-1])), -1
        )

    # 1. The entries: tag, type, number of values; and the value, or where it stands if it has more than 4 bytes.
    begin = number(raw[4:8]) + 2
    count = tf.minimum(number(raw[begin - 2 : begin]), tf.maximum((length - begin) // 12, 0))
    table = tf.reshape(raw[begin : begin + 12 * count], (-1, 12))
    tags, kinds, counts, offsets = (number(table[:, a:b]) for a, b in ((0, 2), (2, 4), (4, 8), (8, 12)))
    kinds = tf.where(kinds < len(_BYTES), kinds, 0)
    units = tf.gather(tf.constant(_BYTES, tf.int64), kinds)
    sizes = counts * units
    far = sizes > 4
    places = tf.where(far, offsets, begin + 8 + 12 * tf.range(count))
    # 2. Values that together are larger than the block are passed over; one that is cut short ends the directory.
    passed = far & (tf.cumsum(tf.where(far, sizes, 0)) > length)
    cut = far & ~passed & (places + sizes > length)
    good = (tags == TAG) & (sizes > 0) & ~passed & (tf.cumsum(tf.cast(cut, tf.int32)) == 0)
    rows = tf.where(good)[:, 0]

    def value() -> tf.Tensor:
        row = rows[0]
        found = number(raw[places[row] : places[row] + units[row]])
        stated = tf.gather(_WHOLE, kinds[row]) & (found >= 1) & (found <= 8)
        return tf.where(stated, tf.cast(found, tf.int32), 1)

    return tf.cond(tf.size(rows) > 0, value, lambda: 1)


def _of_jpeg(content: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF block of a JPEG file, joined where several segments hold it; empty where there is none."""
    length = tf.strings.length(content)

    def step(at: tf.Tensor, block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns where the next segment begins, and the block with what this one adds."""
        head = tf.cast(tf.io.decode_raw(tf.strings.substr(content, at, 4), tf.uint8), tf.int32)
        mark, size = head[1], tf.maximum(256 * head[2] + head[3], 2)
        # Bytes that are no marker, and the bytes 255 before one, are passed one at a time.
        none = (head[0] != 255) | (mark == 255)
        ends = ~none & ((mark == 0xDA) | (mark > 0) & (mark < 0xC0))
        end = at + tf.where(none, 1, tf.where(tf.gather(_BARE, mark), 2, 2 + size))
        held = tf.strings.length(block)
        exif = ~none & (mark == 0xE1) & (size >= 8) & (tf.strings.substr(content, at + 4, 6) == _MARK)
        start = tf.minimum(at + tf.where(held > 0, 10, 4), length)
        more = tf.strings.substr(content, start, tf.where(exif & (held < _LARGEST), end - start, 0))
        return tf.where(ends, length, end), tf.strings.join([block, more])

    return _walk(lambda at, _: at + 4 <= length, step, 0)


def _of_png(content: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF block of a PNG file, which may come before or after the pixels; empty where there is none."""
    raw = tf.io.decode_raw(content, tf.uint8)
    length = tf.size(raw, tf.int64)

    def alike(head: tf.Tensor, at: tf.Tensor, span: tf.Tensor) -> tf.Tensor:
        """Counts chunks of pixels of one length that follow each other: a file may have tens of thousands."""
        starts = at + span * tf.range(_ALIKE, dtype=tf.int64)
        heads = tf.gather(raw, tf.minimum(starts[:, None] + tf.range(8, dtype=tf.int64), length - 1))
        same = tf.reduce_all(heads == head, 1) & (starts + 8 <= length)
        return tf.reduce_sum(tf.math.cumprod(tf.cast(same, tf.int64)))

    def step(at: tf.Tensor, block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head, kind = raw[at : at + 8], tf.strings.substr(content, at + 4, 4)
        size = tf.reduce_sum(tf.cast(head[:4], tf.int64) * _POWERS)
        run = tf.cond(kind == b"IDAT", lambda: alike(head, at, 12 + size), lambda: tf.constant(1, tf.int64))
        exif = (kind == b"eXIf") & (at + 8 + size <= length)
        block = tf.cond(exif, lambda: _MARK + tf.strings.substr(content, at + 8, size), lambda: block)
        return tf.where(kind == b"IEND", length, at + run * (12 + size)), block

    return _walk(lambda at, _: at + 8 <= length, step, tf.constant(8, tf.int64))


def _of_webp(content: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF block of a WebP file whose header says that it has one; else nothing."""
    length = tf.cast(tf.strings.length(content), tf.int64)

    def step(at: tf.Tensor, block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns where the next chunk begins that is unlike this one, and the block if this one holds it."""
        kind = tf.strings.substr(content, at, 4)
        size = tf.cast(tf.io.decode_raw(tf.strings.substr(content, at + 4, 4), tf.int32)[0], tf.int64) % (1 << 32)
        exif = kind == b"EXIF"
        block = tf.strings.substr(content, at + 8, tf.where(exif, size, 0))
        return tf.where(exif, length, at + 8 + size + size % 2), block

    head = tf.strings.substr(tf.strings.join([tf.strings.substr(content, 0, 21), b"\0" * 21]), 0, 21)
    flags = tf.cast(tf.io.decode_raw(head, tf.uint8)[20], tf.int32)
    has = (tf.strings.substr(head, 12, 4) == b"VP8X") & (flags // 8 % 2 == 1)
    return _walk(lambda at, _: has & (at + 8 <= length), step, tf.constant(12, tf.int64))


def _walk(more, step, start) -> tf.Tensor:
    """Repeats a step that moves a position and adds to a block; returns the block."""
    return tf.while_loop(more, step, (start, tf.constant(b"")), parallel_iterations=1, maximum_iterations=_STEPS)[1]


def _reader(block: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    # Traced once in a process, and not for each pipeline, as that takes half a second.
    # Not inlined: what holds it optimises its loops only if a file needs them.
    return tf.function(
        lambda content: _stated(block(content)),
        [tf.TensorSpec((), tf.string)],
        autograph=False,
        experimental_attributes={"_noinline": True},
    )


JPEG = Exif(r"Exif\x00\x00", _reader(_of_jpeg))
PNG = Exif("eXIf", _reader(_of_png))
WEBP = Exif("EXIF", _reader(_of_webp))
